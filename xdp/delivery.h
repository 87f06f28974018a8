/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * On to the backend: where it is, what keeps a frame from being sent there,
 * and how the frame is changed for it. Nothing behind its tags is touched.
 */
#ifndef PYDSR_DELIVERY_H
#define PYDSR_DELIVERY_H

#include "maps.h"
#include "packet.h"
#include "services.h"

/* Where a backend is, and what frames to it come from. */
struct place {
	union mac mac;
	union mac own;
};

/*
 * Find the place of the packet's backend; the reason why it cannot be sent
 * there, or REASON_FORWARDED. The frame is sent to `own`, which stays so but
 * where the backend is behind another interface.
 */
static __always_inline enum reason
place_find(const struct backend *backend, struct packet *packet, __u32 ingress,
	   struct place *place)
{
	place->mac = backend_mac(backend);
	if (unlikely(!place->mac.word || (place->mac.octets[0] & 1)))
		return REASON_NO_MAC;
	if (unlikely(backend->ifindex != ingress)) {
#ifdef PYDSR_WITH_REDIRECT
		struct interface *egress = interface_find(backend->ifindex);

		if (!egress || !mac_load(egress->mac).word)
			return REASON_OTHER_INTERFACE;
		place->own = mac_load(egress->mac);
		packet->egress = backend->ifindex;
#else
		return REASON_OTHER_INTERFACE;
#endif
	}
	if (unlikely(place->mac.word == place->own.word))
		return REASON_NO_MAC;
	return REASON_FORWARDED;
}

/* Give a frame the tags of its backend; its priority stays. */
static __always_inline enum reason retag(struct xdp_md *ctx,
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
	if (packet_move_start(ctx, before - after))
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

static __always_inline void counters_add(const struct packet *packet)
{
	__u32 backend = packet->backend;
	struct counters *counters = map_lookup(MAP(counters), &backend);

	if (unlikely(!counters))
		return;
	counters->packets += 1;
	counters->bytes += packet->frame_bytes;
	counters->new_flows += packet_opens(packet);
}

static __always_inline struct ethhdr *eth_find(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= data_end ? eth : NULL;
}

/* Whether it is asked of a frame that comes in by no interface that is known. */
static __always_inline bool comes_from_nowhere(struct xdp_md *ctx, bool asked)
{
	return asked &&
	       !interface_is_known(interface_find(ctx->ingress_ifindex));
}

/* Send a frame to the backend that was chosen for its packet; `asked` as in forward(). */
static __always_inline enum reason deliver(struct xdp_md *ctx,
					   struct ethhdr *eth,
					   struct packet *packet, bool asked)
{
	__u32 id = packet->backend;
	struct backend *backend = map_lookup(MAP(backends), &id);
	struct place place;
	enum reason reason;
	__u32 ingress;

	if (unlikely(!backend))
		return REASON_NO_BACKEND;
	place.own = mac_load(eth->h_dest);
	ingress = ctx->ingress_ifindex;
	if (comes_from_nowhere(ctx, asked)) {
		ingress = backend->ifindex;
		place.own.word = 0;
	}
	reason = place_find(backend, packet, ingress, &place);
	if (unlikely(reason != REASON_FORWARDED))
		return reason;
	/* A host forwards what it does not take for its own; so it lacks the VIP. */
	if (unlikely(mac_load(eth->h_source).word == place.mac.word))
		return REASON_BOUNCED;
#ifdef PYDSR_WITH_REDIRECT
	if (packet->egress &&
	    packet_redirect(MAP(egress), packet->egress, 0) != XDP_REDIRECT)
		return REASON_OTHER_INTERFACE;
#endif
#ifdef PYDSR_WITH_VLAN
	if (unlikely(packet->tags_word != backend->tags_word)) {
		reason = retag(ctx, packet, backend);
		if (reason != REASON_FORWARDED)
			return reason;
		eth = eth_find(ctx);
		if (!eth)
			return REASON_MALFORMED;
	}
#endif
	mac_store(eth->h_source, place.own);
	mac_store(eth->h_dest, place.mac);
	if (!asked)
		counters_add(packet);
	return REASON_FORWARDED;
}

#endif
