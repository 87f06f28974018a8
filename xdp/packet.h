/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A packet as the balancer sees it, and how its headers are read. */
#ifndef PYDSR_PACKET_H
#define PYDSR_PACKET_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#include "types.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* ntohs() and htons() are one operation. */
#define swap16(value) __builtin_bswap16(value)
#define swap32(value) __builtin_bswap32(value)
#define swap64(value) __builtin_bswap64(value)

/* Above all offsets that are parsed, and what tells the verifier so. */
#define L4_OFFSET_MASK 0x3ff
#define EXTENSIONS_MAX 6
#define IPV4_FRAGMENT_MASK 0x3fff /* more-fragments flag and offset */
#define IPV4_MAPPED_PREFIX swap32(0x0000ffff)

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 eth_proto;
	__u8 ip_proto;
	__u8 fragment;
	__u8 tcp_opens; /* SYN without ACK */
	__u8 tcp_closes; /* FIN or RST */
	__u32 l4_offset; /* from the start of the frame */
	__u32 frame_bytes; /* as the IP header says, with Ethernet */
};

/* A MAC address in one word, whose last two octets are zero. */
union mac {
	__u64 word;
	__u8 octets[8];
};

static __always_inline void mac_copy(__u8 *to, const __u8 *from)
{
	__builtin_memcpy(to, from, ETH_ALEN);
}

static __always_inline union mac mac_load(const __u8 *octets)
{
	union mac mac = {};

	mac_copy(mac.octets, octets);
	return mac;
}

static __always_inline struct address address_map_ipv4(__be32 ipv4)
{
	struct address address = {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		.halves = { 0, (__u64)ipv4 << 32 | IPV4_MAPPED_PREFIX },
#else
		.halves = { 0, (__u64)0x0000ffff << 32 | ipv4 },
#endif
	};

	return address;
}

static __always_inline struct address address_load_ipv6(const void *bytes)
{
	/* Headers are aligned to two bytes: a copy lets the compiler choose. */
	struct address address;

	__builtin_memcpy(&address, bytes, sizeof(address));
	return address;
}

static __always_inline bool address_equals(const struct address *one,
					   const struct address *other)
{
	return one->halves[0] == other->halves[0] &&
	       one->halves[1] == other->halves[1];
}

static __always_inline bool address_is_ipv4(const struct address *address)
{
	return !address->halves[0] &&
	       (__u32)address->halves[1] == IPV4_MAPPED_PREFIX;
}

/*
 * The parse_*() functions check bounds and fill in the packet. They return
 * false when the header is cut short or lies about its length.
 */
static __always_inline bool parse_ipv4(void *data, void *data_end,
				       struct packet *packet)
{
	struct iphdr *ip = data + ETH_HLEN;
	__u32 header_bytes;

	if ((void *)(ip + 1) > data_end)
		return false;
	header_bytes = ip->ihl * 4;
	packet->source = address_map_ipv4(ip->saddr);
	packet->destination = address_map_ipv4(ip->daddr);
	packet->ip_proto = ip->protocol;
	packet->fragment = (ip->frag_off & swap16(IPV4_FRAGMENT_MASK)) != 0;
	packet->l4_offset = ETH_HLEN + header_bytes;
	packet->frame_bytes = ETH_HLEN + swap16(ip->tot_len);
	return ip->version == 4 && header_bytes >= sizeof(*ip) &&
	       packet->frame_bytes >= packet->l4_offset;
}

/*
 * Step over extension headers (RFC 8200, section 4) to the transport's. Seldom
 * there; with more than EXTENSIONS_MAX of them the packet has no known ports.
 */
static __always_inline bool parse_extensions(void *data, void *data_end,
					     struct packet *packet)
{
#pragma unroll
	for (int count = 0; count < EXTENSIONS_MAX; count++) {
		__u8 *header = data + (packet->l4_offset & L4_OFFSET_MASK);

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
			packet->fragment = true;
			return true;
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
	struct ipv6hdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > data_end)
		return false;
	packet->source = address_load_ipv6(&ip->saddr);
	packet->destination = address_load_ipv6(&ip->daddr);
	packet->ip_proto = ip->nexthdr;
	packet->l4_offset = ETH_HLEN + sizeof(*ip);
	packet->frame_bytes = packet->l4_offset + swap16(ip->payload_len);
	if (unlikely(ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP &&
		     ip->nexthdr != IPPROTO_ICMPV6) &&
	    !parse_extensions(data, data_end, packet))
		return false;
	/* Mapped addresses stand for IPv4 here; no IPv6 packet may carry one. */
	return ip->version == 6 && !address_is_ipv4(&packet->destination);
}

static __always_inline bool parse_ports(void *data, void *data_end,
					struct packet *packet)
{
	void *l4 = data + (packet->l4_offset & L4_OFFSET_MASK);

	if (packet->ip_proto == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > data_end ||
		    packet->frame_bytes < packet->l4_offset + sizeof(*tcp))
			return false;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->tcp_opens = tcp->syn && !tcp->ack;
		packet->tcp_closes = tcp->fin || tcp->rst;
		return true;
	}
	if (packet->ip_proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > data_end ||
		    packet->frame_bytes < packet->l4_offset + sizeof(*udp))
			return false;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		return true;
	}
	return true;
}

#endif
