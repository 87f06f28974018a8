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
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_MORE_FRAGMENTS 1
#define IPV6_OFFSET_MASK 0xfff8
#define IPV4_MAPPED_PREFIX swap32(0x0000ffff)

#define TAG_BYTES 4
#define TAG_VLAN_MASK 0x0fff

#define SCTP_INIT 1
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN_COMPLETE 14

enum fragment_place {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

/* RFC 8200, section 4.5. */
struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* RFC 9260, section 3: the common header, and the first chunk's type. */
struct sctp_packet {
	__be16 source;
	__be16 destination;
	__be32 verification;
	__be32 checksum;
	__u8 chunk_type;
	__u8 chunk_flags;
	__be16 chunk_bytes;
};

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__be16 eth_proto; /* of what the tags are around */
	__u8 ip_proto;
	__u8 fragment; /* enum fragment_place */
	__u8 opens; /* TCP: SYN without ACK; SCTP: INIT */
	__u8 closes; /* TCP: FIN or RST; SCTP: ABORT or SHUTDOWN COMPLETE */
	__be16 priority; /* the outermost tag but for its VLAN */
	__be32 fragment_id;
	__u32 l3_offset; /* from the start of the frame, as the next one */
	__u32 l4_offset;
	__u32 frame_bytes; /* as the IP header says, with Ethernet */
	union {
		struct tag tags[TAGS_MAX];
		__u64 tags_word;
	};
	/* What was decided: */
	__u32 service;
	__u32 backend;
	__u32 egress; /* interface index, where another than it came in by */
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

		if (likely(packet->eth_proto != swap16(ETH_P_8021Q) &&
			   packet->eth_proto != swap16(ETH_P_8021AD)))
			return true;
		if ((void *)tag + TAG_BYTES > data_end)
			return false;
		packet->tags[i].protocol = packet->eth_proto;
		packet->tags[i].vlan = tag[0] & swap16(TAG_VLAN_MASK);
		if (i == 0)
			packet->priority = tag[0] & ~swap16(TAG_VLAN_MASK);
		packet->eth_proto = tag[1];
		packet->l3_offset += TAG_BYTES;
	}
#endif
	return true;
}

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
	packet->frame_bytes = packet->l3_offset + swap16(ip->tot_len);
	if (unlikely(ip->frag_off &
		     swap16(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))) {
		packet->fragment = ip->frag_off & swap16(IPV4_OFFSET_MASK) ?
					   FRAGMENT_LATER :
					   FRAGMENT_FIRST;
		packet->fragment_id = ip->id;
	}
	return ip->version == 4 && header_bytes >= sizeof(*ip) &&
	       packet->frame_bytes >= packet->l4_offset;
}

/*
 * Step over extension headers (RFC 8200, section 4) to the transport's, or to
 * the end of what a later fragment tells. Seldom there; with more than
 * EXTENSIONS_MAX of them the packet has no known ports.
 */
static __always_inline bool parse_extensions(void *data, void *data_end,
					     struct packet *packet)
{
#pragma unroll
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
			if (fragment->offset & swap16(IPV6_OFFSET_MASK)) {
				packet->fragment = FRAGMENT_LATER;
				return true;
			}
			/* Without more to come it is whole (RFC 6946). */
			if (fragment->offset & swap16(IPV6_MORE_FRAGMENTS))
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
	packet->frame_bytes = packet->l4_offset + swap16(ip->payload_len);
	if (unlikely(ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP &&
		     ip->nexthdr != IPPROTO_ICMPV6) &&
	    !parse_extensions(data, data_end, packet))
		return false;
	/* Mapped addresses stand for IPv4 here; no IPv6 packet may carry one. */
	return ip->version == 6 && !address_is_ipv4(&packet->destination);
}

/* Whether the frame and the packet in it go on for this header. */
static __always_inline bool l4_holds(const struct packet *packet, void *end,
				     void *data_end, __u32 bytes)
{
	return end <= data_end &&
	       packet->frame_bytes >= packet->l4_offset + bytes;
}

static __always_inline bool parse_ports(void *data, void *data_end,
					struct packet *packet)
{
	void *l4 = data + (packet->l4_offset & L4_OFFSET_MASK);

	if (packet->ip_proto == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if (!l4_holds(packet, tcp + 1, data_end, sizeof(*tcp)))
			return false;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->opens = tcp->syn && !tcp->ack;
		packet->closes = tcp->fin || tcp->rst;
		return true;
	}
	if (packet->ip_proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if (!l4_holds(packet, udp + 1, data_end, sizeof(*udp)))
			return false;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		return true;
	}
	if (packet->ip_proto == IPPROTO_SCTP) {
		struct sctp_packet *sctp = l4;

		if (!l4_holds(packet, sctp + 1, data_end, sizeof(*sctp)))
			return false;
		packet->source_port = sctp->source;
		packet->destination_port = sctp->destination;
		packet->opens = sctp->chunk_type == SCTP_INIT;
		packet->closes = sctp->chunk_type == SCTP_ABORT ||
				 sctp->chunk_type == SCTP_SHUTDOWN_COMPLETE;
	}
	return true;
}

#endif
