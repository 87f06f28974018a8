/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Sending a frame to its backend: new MAC addresses, and new VLAN tags where
 * the backend has others. Everything behind the tags stays as it is.
 */
#ifndef PYDSR_DELIVERY_H
#define PYDSR_DELIVERY_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"
#include "decision.h"
#include "ethernet.h"
#include "interfaces.h"
#include "mac.h"
#include "maps.h"
#include "packet.h"
#include "types.h"
#include "verdicts.h"

/* The new MAC addresses of a frame. */
struct next_hop {
	union mac destination;
	union mac source;
};

/* One load: the control plane replaces a MAC by one store. */
static __always_inline union mac backend_mac(const struct backend *backend)
{
	union mac mac = { .word = *(const volatile __u64 *)backend };

	return mac;
}

/*
 * Find the MACs of a frame to a backend. Returns REASON_FORWARDED, or why the
 * frame cannot be sent. hop->source is the MAC that the frame was sent to; it is
 * replaced if the backend is behind another interface.
 */
static __always_inline enum reason
next_hop_find(const struct backend *backend, struct decision *decision,
	      __u32 ingress, struct next_hop *hop)
{
	hop->destination = backend_mac(backend);
	if (unlikely(!hop->destination.word ||
		     (hop->destination.octets[0] & 1)))
		return REASON_NO_MAC;
	if (unlikely(backend->ifindex != ingress)) {
#ifdef PYDSR_WITH_REDIRECT
		struct interface *egress = interface_find(backend->ifindex);

		if (!egress || !mac_load(egress->mac).word)
			return REASON_OTHER_INTERFACE;
		hop->source = mac_load(egress->mac);
		decision->egress = backend->ifindex;
#else
		return REASON_OTHER_INTERFACE;
#endif
	}
	if (unlikely(hop->destination.word == hop->source.word))
		return REASON_NO_MAC;
	return REASON_FORWARDED;
}

/* Replace a frame's VLAN tags with its backend's; the priority stays. */
static __always_inline enum reason tags_replace(struct xdp_md *ctx,
						const struct packet *packet,
						const struct backend *backend)
{
	int before = packet->l3_offset - ETH_HLEN;
	int after = 0;
	void *data, *data_end;
	__be16 *tag;

#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++)
		after += backend->tags[i].protocol ? TAG_BYTES : 0;
	if (bpf_xdp_adjust_head(ctx, before - after))
		return REASON_NO_HEADROOM;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	tag = data + 2 * ETH_ALEN;
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		if (!backend->tags[i].protocol)
			break;
		if ((void *)(tag + 2) > data_end)
			return REASON_MALFORMED;
		tag[0] = backend->tags[i].protocol;
		tag[1] = backend->tags[i].vlan;
		if (i == 0)
			tag[1] |= packet->priority;
		tag += 2;
	}
	if ((void *)(tag + 1) > data_end)
		return REASON_MALFORMED;
	*tag = packet->eth_proto;
	return REASON_FORWARDED;
}

static __always_inline void counters_add(const struct packet *packet,
					 __u32 backend)
{
	struct counters *counters =
		bpf_map_lookup_elem(MAP(counters), &backend);

	if (unlikely(!counters))
		return;
	counters->packets += 1;
	counters->bytes += packet->frame_bytes;
	counters->new_flows += packet_opens(packet);
}

/*
 * Send a frame to the backend of its decision. Returns REASON_FORWARDED, or why
 * it cannot be sent.
 */
static __always_inline enum reason
deliver(struct xdp_md *ctx, struct ethhdr *eth, const struct packet *packet,
	struct decision *decision, enum mode mode)
{
	__u32 id = decision->backend;
	struct backend *backend = bpf_map_lookup_elem(MAP(backends), &id);
	struct next_hop hop;
	enum reason reason;
	__u32 ingress;

	if (unlikely(!backend))
		return REASON_NO_BACKEND;
	hop.source = mac_load(eth->h_dest);
	ingress = ctx->ingress_ifindex;
	if (ingress_is_open(ctx, mode)) {
		ingress = backend->ifindex;
		hop.source.word = 0;
	}
	reason = next_hop_find(backend, decision, ingress, &hop);
	if (unlikely(reason != REASON_FORWARDED))
		return reason;
	/* A backend without the VIP forwards the packet as a router would. */
	if (unlikely(mac_load(eth->h_source).word == hop.destination.word))
		return REASON_BOUNCED;
#ifdef PYDSR_WITH_REDIRECT
	if (decision->egress &&
	    bpf_redirect_map(MAP(egress), decision->egress, 0) != XDP_REDIRECT)
		return REASON_OTHER_INTERFACE;
#endif
#ifdef PYDSR_WITH_VLAN
	if (unlikely(packet->tags_word != backend->tags_word)) {
		reason = tags_replace(ctx, packet, backend);
		if (reason != REASON_FORWARDED)
			return reason;
		eth = frame_ethernet(ctx);
		if (!eth)
			return REASON_MALFORMED;
	}
#endif
	mac_store(eth->h_source, hop.source);
	mac_store(eth->h_dest, hop.destination);
	if (mode != MODE_ASK)
		counters_add(packet, decision->backend);
	return REASON_FORWARDED;
}

#endif
