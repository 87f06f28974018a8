/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets in fragments. Only the first fragment carries ports, so its backend
 * is recorded and later fragments follow it.
 */
#ifndef PYDSR_FRAGMENTS_H
#define PYDSR_FRAGMENTS_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"
#include "consistency.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

/* As long as Linux waits for the other fragments of an IPv4 packet. */
#define FRAGMENT_NANOSECONDS 30000000000ULL

/*
 * Whether to balance a fragment by its ports. Without the feature, a first
 * fragment is not balanced either: later ones could not follow it.
 */
static __always_inline bool fragment_has_ports(const struct packet *packet)
{
#ifdef PYDSR_WITH_FRAGMENTS
	return packet->fragment == FRAGMENT_FIRST;
#else
	return false;
#endif
}

static __always_inline struct fragment_key
fragment_identify(const struct packet *packet)
{
	struct fragment_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.id = packet->fragment_id,
	};

	/* IPv6 ids are unique over all protocols (RFC 8200, section 4.5). */
	if (packet->eth_proto == bpf_htons(ETH_P_IP))
		key.ip_proto = packet->ip_proto;
	return key;
}

static __always_inline void fragment_record(const struct packet *packet,
					    const struct decision *decision)
{
	struct fragment_key key = fragment_identify(packet);
	struct fragment fragment = {
		.last_seen = bpf_ktime_get_coarse_ns(),
		.service = decision->service,
		.backend = decision->backend,
	};

	bpf_map_update_elem(MAP(fragments), &key, &fragment, BPF_ANY);
}

/* Choose the backend that the packet's first fragment went to. */
static __always_inline bool fragment_follow(const struct packet *packet,
					    struct decision *decision)
{
	struct fragment_key key = fragment_identify(packet);
	struct fragment *first = bpf_map_lookup_elem(MAP(fragments), &key);

	if (!first ||
	    bpf_ktime_get_coarse_ns() - first->last_seen >
		    FRAGMENT_NANOSECONDS ||
	    !backend_keeps(first->backend, first->service))
		return false;
	decision->service = first->service;
	decision->backend = first->backend;
	return true;
}

#endif
