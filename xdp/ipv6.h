/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Parsing IPv6 and its extension headers; see ethernet.h for parse_*(). */
#ifndef PYDSR_IPV6_H
#define PYDSR_IPV6_H

#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ipv6.h>

#include "address.h"
#include "bpf.h"
#include "l4.h"
#include "packet.h"

#define EXTENSIONS_MAX 6
#define IPV6_MORE_FRAGMENTS 1
#define IPV6_OFFSET_MASK 0xfff8

/* RFC 8200, section 4.5. */
struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/*
 * Step over extension headers (RFC 8200, section 4) to the transport header.
 * A later fragment ends at its fragment header. A packet with more than
 * EXTENSIONS_MAX of them is treated as one without known ports.
 */
static __always_inline bool parse_extensions(void *data, void *data_end,
					     struct packet *packet)
{
#pragma clang loop unroll(disable)
	for (int count = 0; count < EXTENSIONS_MAX; count++) {
		__u8 *header = data + (packet->l4_offset & L4_OFFSET_MASK);
		struct ipv6_fragment *fragment = (void *)header;

		switch (packet->ip_proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			if ((void *)(header + 2) > data_end)
				return false;
			packet->ip_proto = header[0];
			packet->l4_offset += (header[1] + 1) * 8;
			break;
		case IPPROTO_FRAGMENT:
			if ((void *)(fragment + 1) > data_end)
				return false;
			packet->ip_proto = fragment->next;
			packet->l4_offset += sizeof(*fragment);
			packet->fragment_id = fragment->id;
			if (fragment->offset & bpf_htons(IPV6_OFFSET_MASK)) {
				packet->fragment = FRAGMENT_LATER;
				return true;
			}
			/* An only fragment is a whole packet (RFC 6946). */
			if (fragment->offset & bpf_htons(IPV6_MORE_FRAGMENTS))
				packet->fragment = FRAGMENT_FIRST;
			break;
		default:
			return true;
		}
		if (packet->l4_offset > L4_OFFSET_MASK)
			return false;
	}
	return true;
}

static __always_inline bool parse_ipv6(void *data, void *data_end,
				       struct packet *packet)
{
	struct ipv6hdr *ip = data + packet->l3_offset;

	if ((void *)(ip + 1) > data_end)
		return false;
	packet->source = address_load_ipv6(&ip->saddr);
	packet->destination = address_load_ipv6(&ip->daddr);
	packet->ip_proto = ip->nexthdr;
	packet->l4_offset = packet->l3_offset + sizeof(*ip);
	packet->frame_bytes = packet->l4_offset + bpf_ntohs(ip->payload_len);
	if (unlikely(ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP &&
		     ip->nexthdr != IPPROTO_ICMPV6) &&
	    !parse_extensions(data, data_end, packet))
		return false;
	/* A mapped address means IPv4 here, so no IPv6 packet may carry one. */
	return ip->version == 6 && !address_is_ipv4(&packet->destination);
}

static __always_inline bool parse_plain_ipv6(void *data, void *data_end,
					     struct packet *packet)
{
	struct ipv6hdr *ip = data + packet->l3_offset;

	if ((void *)(ip + 1) > data_end || ip->version != 6)
		return false;
	packet->source = address_load_ipv6(&ip->saddr);
	packet->destination = address_load_ipv6(&ip->daddr);
	packet->ip_proto = ip->nexthdr;
	return !address_is_ipv4(&packet->destination) &&
	       parse_plain_ports(data, data_end, sizeof(*ip),
				 sizeof(*ip) + bpf_ntohs(ip->payload_len),
				 packet);
}

#endif
