/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Only the first fragment of a packet carries ports. Where it went is
 * remembered, for the others to follow.
 */
#ifndef PYDSR_FRAGMENTS_H
#define PYDSR_FRAGMENTS_H

#include "consistency.h"
#include "maps.h"
#include "packet.h"

/* As long as Linux waits for the rest of an IPv4 packet. */
#define FRAGMENT_NANOSECONDS 30000000000ULL

/* A first fragment is of no use where the others cannot follow. */
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

	/* IPv6 counts ids over all protocols (RFC 8200, section 4.5). */
	if (packet->eth_proto == swap16(ETH_P_IP))
		key.ip_proto = packet->ip_proto;
	return key;
}

static __always_inline void fragment_remember(const struct packet *packet)
{
	struct fragment_key key = fragment_identify(packet);
	struct fragment fragment = {
		.last_seen = clock_coarse(),
		.service = packet->service,
		.backend = packet->backend,
	};

	map_update(MAP(fragments), &key, &fragment, BPF_ANY);
}

/* Choose the backend that the packet's first fragment went to. */
static __always_inline bool fragment_follow(struct packet *packet)
{
	struct fragment_key key = fragment_identify(packet);
	struct fragment *first = map_lookup(MAP(fragments), &key);

	if (!first ||
	    clock_coarse() - first->last_seen > FRAGMENT_NANOSECONDS ||
	    !backend_keeps(first->backend, first->service))
		return false;
	packet->service = first->service;
	packet->backend = first->backend;
	return true;
}

#endif
