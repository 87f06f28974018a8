/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Parsing IPv4 headers; see ethernet.h for what parse_*() promise. */
#ifndef PYDSR_IPV4_H
#define PYDSR_IPV4_H

#include <uapi/linux/ip.h>

#include "address.h"
#include "bpf.h"
#include "l4.h"
#include "packet.h"

#define IPV4_PLAIN_VERSION_IHL 0x45
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff

static __always_inline bool parse_ipv4(void *data, void *data_end,
				       struct packet *packet)
{
	struct iphdr *ip = data + packet->l3_offset;
	__u32 header_bytes;

	if ((void *)(ip + 1) > data_end)
		return false;
	header_bytes = ip->ihl * 4;
	packet->source = address_map_ipv4(ip->saddr);
	packet->destination = address_map_ipv4(ip->daddr);
	packet->ip_proto = ip->protocol;
	packet->l4_offset = packet->l3_offset + header_bytes;
	packet->frame_bytes = packet->l3_offset + bpf_ntohs(ip->tot_len);
	if (unlikely(ip->frag_off &
		     bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))) {
		packet->fragment = ip->frag_off & bpf_htons(IPV4_OFFSET_MASK) ?
					   FRAGMENT_LATER :
					   FRAGMENT_FIRST;
		packet->fragment_id = ip->id;
	}
	return ip->version == 4 && header_bytes >= sizeof(*ip) &&
	       packet->frame_bytes >= packet->l4_offset;
}

static __always_inline bool parse_plain_ipv4(void *data, void *data_end,
					     struct packet *packet)
{
	struct iphdr *ip = data + packet->l3_offset;

	if ((void *)(ip + 1) > data_end ||
	    *(__u8 *)ip != IPV4_PLAIN_VERSION_IHL ||
	    ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
		return false;
	packet->source = address_map_ipv4(ip->saddr);
	packet->destination = address_map_ipv4(ip->daddr);
	packet->ip_proto = ip->protocol;
	return parse_plain_ports(data, data_end, sizeof(*ip),
				 bpf_ntohs(ip->tot_len), packet);
}

#endif
