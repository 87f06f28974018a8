/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors about packets that a backend sent. They are addressed to the VIP,
 * but the backend of the flow needs them: without them it would never learn the
 * path's MTU.
 */
#ifndef PYDSR_ICMP_ERRORS_H
#define PYDSR_ICMP_ERRORS_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>

#include "address.h"
#include "bpf.h"
#include "ipv4.h"
#include "ipv6.h"
#include "packet.h"

#define ICMPV4_UNREACHABLE 3
#define ICMPV4_TIME_EXCEEDED 11
#define ICMPV4_PARAMETER 12
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PARAMETER 4

#define ICMP_ERROR_HEADER_BYTES 8

static __always_inline bool icmp_is_error(bool is_ipv4, __u8 type)
{
	if (is_ipv4)
		return type == ICMPV4_UNREACHABLE ||
		       type == ICMPV4_TIME_EXCEEDED || type == ICMPV4_PARAMETER;
	return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER;
}

/*
 * Parse the packet that an error quotes, with source and destination swapped:
 * the result is the client's side of the flow. False if it quotes no ports.
 */
static __always_inline bool parse_icmp_error(void *data, void *data_end,
					     const struct packet *error,
					     struct packet *flow)
{
	bool is_ipv4 = error->eth_proto == bpf_htons(ETH_P_IP);
	__u8 *type = data + (error->l4_offset & L4_OFFSET_MASK);
	void *inner = (void *)type + ICMP_ERROR_HEADER_BYTES;
	__be16 *ports;

	if ((void *)(type + 1) > data_end || !icmp_is_error(is_ipv4, *type))
		return false;
	flow->l4_offset = error->l4_offset + ICMP_ERROR_HEADER_BYTES;
	if (is_ipv4) {
		struct iphdr *ip = inner;

		if ((void *)(ip + 1) > data_end || ip->version != 4 ||
		    ip->ihl < 5 || (ip->frag_off & bpf_htons(IPV4_OFFSET_MASK)))
			return false;
		flow->source = address_map_ipv4(ip->daddr);
		flow->destination = address_map_ipv4(ip->saddr);
		flow->ip_proto = ip->protocol;
		flow->l4_offset += ip->ihl * 4;
	} else {
		struct ipv6hdr *ip = inner;

		if ((void *)(ip + 1) > data_end || ip->version != 6)
			return false;
		flow->source = address_load_ipv6(&ip->daddr);
		flow->destination = address_load_ipv6(&ip->saddr);
		flow->ip_proto = ip->nexthdr;
		flow->l4_offset += sizeof(*ip);
		if (flow->l4_offset > L4_OFFSET_MASK ||
		    !parse_extensions(data, data_end, flow) ||
		    flow->fragment == FRAGMENT_LATER)
			return false;
	}
	if (flow->l4_offset > L4_OFFSET_MASK)
		return false;
	ports = data + (flow->l4_offset & L4_OFFSET_MASK);
	if ((void *)(ports + 2) > data_end ||
	    error->frame_bytes < flow->l4_offset + 2 * sizeof(*ports))
		return false;
	flow->destination_port = ports[0];
	flow->source_port = ports[1];
	/* The rest comes from the error: it is the frame to send. */
	flow->fragment = FRAGMENT_NONE;
	flow->eth_proto = error->eth_proto;
	flow->frame_bytes = error->frame_bytes;
	flow->l3_offset = error->l3_offset;
	flow->tags_word = error->tags_word;
	flow->priority = error->priority;
	/* An error about a packet from the VIP can only be sent to the VIP. */
	return address_equals(&flow->destination, &error->destination);
}

/* A function of its own: otherwise the compiler spills 16 bytes more. */
static __always_inline bool icmp_error_open(struct xdp_md *ctx,
					    const struct packet *error,
					    struct packet *flow)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	return parse_icmp_error(data, data_end, error, flow);
}

#endif
