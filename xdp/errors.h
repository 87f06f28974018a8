/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP errors about packets that a backend sent. They are addressed to the
 * VIP, and belong to the backend that has the flow: without them it would
 * never learn the path's MTU.
 */
#ifndef PYDSR_ERRORS_H
#define PYDSR_ERRORS_H

#include "packet.h"

#define ERROR4_UNREACHABLE 3
#define ERROR4_TIME_EXCEEDED 11
#define ERROR4_PARAMETER 12
#define ERROR6_UNREACHABLE 1
#define ERROR6_PARAMETER 4

#define ERROR_HEADER_BYTES 8

static __always_inline bool error_is_known(bool is_ipv4, __u8 type)
{
	if (is_ipv4)
		return type == ERROR4_UNREACHABLE ||
		       type == ERROR4_TIME_EXCEEDED || type == ERROR4_PARAMETER;
	return type >= ERROR6_UNREACHABLE && type <= ERROR6_PARAMETER;
}

/*
 * Read the start of the packet that an error is about, as the packet of the
 * client's that it answered: source and destination change places. False
 * where it carries no ports.
 */
static __always_inline bool error_parse(void *data, void *data_end,
					const struct packet *error,
					struct packet *flow)
{
	bool is_ipv4 = error->eth_proto == swap16(ETH_P_IP);
	__u8 *type = data + (error->l4_offset & L4_OFFSET_MASK);
	void *inner = (void *)type + ERROR_HEADER_BYTES;
	__be16 *ports;

	if ((void *)(type + 1) > data_end || !error_is_known(is_ipv4, *type))
		return false;
	flow->l4_offset = error->l4_offset + ERROR_HEADER_BYTES;
	if (is_ipv4) {
		struct iphdr *ip = inner;

		if ((void *)(ip + 1) > data_end || ip->version != 4 ||
		    ip->ihl < 5 || (ip->frag_off & swap16(IPV4_OFFSET_MASK)))
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
	/* It is the error that is sent, not the packet it tells of. */
	flow->fragment = FRAGMENT_NONE;
	flow->eth_proto = error->eth_proto;
	flow->frame_bytes = error->frame_bytes;
	flow->l3_offset = error->l3_offset;
	flow->tags_word = error->tags_word;
	flow->priority = error->priority;
	/* Who claims that the VIP sent it must have been sent it by the VIP. */
	return address_equals(&flow->destination, &error->destination);
}

#endif
