/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Parsing Ethernet headers and VLAN tags.
 *
 * All parse_*() functions check bounds and fill in the packet. They return
 * false if a header is cut short or contradicts the packet's length.
 *
 * The parse_plain_*() functions read only what nearly every packet is: whole TCP
 * or UDP right behind an IP header without options, in at most one VLAN tag.
 * They return false for any other packet, without saying what it is; the
 * caller then starts again with the complete functions.
 */
#ifndef PYDSR_ETHERNET_H
#define PYDSR_ETHERNET_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"
#include "packet.h"

#define TAG_BYTES 4
#define TAG_VLAN_MASK 0x0fff

static __always_inline bool eth_is_tag(__be16 eth_proto)
{
	return eth_proto == bpf_htons(ETH_P_8021Q) ||
	       eth_proto == bpf_htons(ETH_P_8021AD);
}

static __always_inline bool parse_ethernet(void *data, void *data_end,
					   struct packet *packet)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return false;
	packet->eth_proto = eth->h_proto;
	packet->l3_offset = ETH_HLEN;
#ifdef PYDSR_WITH_VLAN
#pragma unroll
	for (int i = 0; i < TAGS_MAX; i++) {
		__be16 *tag = data + packet->l3_offset;

		if (likely(!eth_is_tag(packet->eth_proto)))
			return true;
		if ((void *)tag + TAG_BYTES > data_end)
			return false;
		packet->tags[i].protocol = packet->eth_proto;
		packet->tags[i].vlan = tag[0] & bpf_htons(TAG_VLAN_MASK);
		if (i == 0)
			packet->priority = tag[0] & ~bpf_htons(TAG_VLAN_MASK);
		packet->eth_proto = tag[1];
		packet->l3_offset += TAG_BYTES;
	}
#endif
	return true;
}

static __always_inline bool parse_plain_ethernet(void *data, void *data_end,
						 struct packet *packet)
{
	__be16 *eth_proto = data + 2 * ETH_ALEN;

	if ((void *)(eth_proto + 1) > data_end)
		return false;
	packet->eth_proto = *eth_proto;
	packet->l3_offset = ETH_HLEN;
#ifdef PYDSR_WITH_VLAN
	if (unlikely(eth_is_tag(packet->eth_proto))) {
		__be16 *tag = eth_proto + 1;

		if ((void *)tag + TAG_BYTES > data_end)
			return false;
		packet->tags[0].protocol = packet->eth_proto;
		packet->tags[0].vlan = tag[0] & bpf_htons(TAG_VLAN_MASK);
		packet->priority = tag[0] & ~bpf_htons(TAG_VLAN_MASK);
		packet->eth_proto = tag[1];
		packet->l3_offset += TAG_BYTES;
	}
#endif
	return true;
}

/* The frame's Ethernet header; NULL if it is cut short. */
static __always_inline struct ethhdr *frame_ethernet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= data_end ? eth : NULL;
}

#endif
