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
#define IPV4_PLAIN_VERSION_IHL 0x45
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_MORE_FRAGMENTS 1
#define IPV6_OFFSET_MASK 0xfff8
#define IPV4_MAPPED_PREFIX swap32(0x0000ffff)

#define TAG_BYTES 4
#define TAG_VLAN_MASK 0x0fff

/* RFC 9293, section 3.1; read as one octet rather than bit by bit. */
#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

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
	__u8 tcp_flags; /* SCTP: those that mean the same */
	__u8 pad;
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
	__u32 slot;
};

/* Whether it is the first packet of a flow, where its protocol tells. */
static __always_inline bool packet_opens(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether it may be one of the last. */
static __always_inline bool packet_closes(const struct packet *packet)
{
	return packet->tcp_flags & (TCP_FIN | TCP_RST);
}

static __always_inline __u8 tcp_flags(const struct tcphdr *tcp)
{
	return ((const __u8 *)tcp)[TCP_FLAGS_OFFSET];
}

/* A MAC address in one word, whose last two octets are zero. */
union mac {
	__u64 word;
	struct {
		__u32 first;
		__u16 last;
		__u16 zero;
	};
	__u8 octets[8];
};

static __always_inline void mac_copy(__u8 *to, const __u8 *from)
{
	__builtin_memcpy(to, from, ETH_ALEN);
}

/* Two words: the compiler, left to itself, takes octet after octet. */
static __always_inline void mac_store(__u8 *to, union mac mac)
{
	*(__u32 *)to = mac.first;
	*(__u16 *)(to + 4) = mac.last;
}

static __always_inline union mac mac_load(const __u8 *octets)
{
	union mac mac = {
		.first = *(const __u32 *)octets,
		.last = *(const __u16 *)(octets + 4),
	};

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
	const __u64 *halves = bytes;
	struct address address = { .halves = { halves[0], halves[1] } };

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

static __always_inline bool eth_is_tag(__be16 eth_proto)
{
	return eth_proto == swap16(ETH_P_8021Q) ||
	       eth_proto == swap16(ETH_P_8021AD);
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

		if (likely(!eth_is_tag(packet->eth_proto)))
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

/*
 * What nearly every packet is: TCP or UDP, whole, with no header between IP's
 * and its own, in at most one tag. The parse_plain*() are false for all others,
 * whatever they are: the functions above read those, and say what is wrong.
 */
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
		packet->tags[0].vlan = tag[0] & swap16(TAG_VLAN_MASK);
		packet->priority = tag[0] & ~swap16(TAG_VLAN_MASK);
		packet->eth_proto = tag[1];
		packet->l3_offset += TAG_BYTES;
	}
#endif
	return true;
}

static __always_inline bool
parse_plain_ports(void *data, void *data_end, __u32 header_bytes,
		  __u32 ip_bytes, struct packet *packet)
{
	struct tcphdr *tcp = data + packet->l3_offset + header_bytes;

	packet->l4_offset = packet->l3_offset + header_bytes;
	packet->frame_bytes = packet->l3_offset + ip_bytes;
	if (packet->frame_bytes > data_end - data)
		return false;
	if (likely(packet->ip_proto == IPPROTO_TCP)) {
		if ((void *)(tcp + 1) > data_end ||
		    ip_bytes < header_bytes + sizeof(*tcp))
			return false;
		packet->tcp_flags = tcp_flags(tcp);
	} else if (packet->ip_proto != IPPROTO_UDP ||
		   (void *)tcp + sizeof(struct udphdr) > data_end ||
		   ip_bytes < header_bytes + sizeof(struct udphdr)) {
		return false;
	}
	/* Of both, these are the first two words. */
	packet->source_port = tcp->source;
	packet->destination_port = tcp->dest;
	return true;
}

static __always_inline bool parse_plain_ipv4(void *data, void *data_end,
					     struct packet *packet)
{
	struct iphdr *ip = data + packet->l3_offset;

	if ((void *)(ip + 1) > data_end ||
	    *(__u8 *)ip != IPV4_PLAIN_VERSION_IHL ||
	    ip->frag_off & swap16(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
		return false;
	packet->source = address_map_ipv4(ip->saddr);
	packet->destination = address_map_ipv4(ip->daddr);
	packet->ip_proto = ip->protocol;
	return parse_plain_ports(data, data_end, sizeof(*ip),
				 swap16(ip->tot_len), packet);
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
				 sizeof(*ip) + swap16(ip->payload_len), packet);
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
		packet->tcp_flags = tcp_flags(tcp);
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
		if (sctp->chunk_type == SCTP_INIT)
			packet->tcp_flags = TCP_SYN;
		else if (sctp->chunk_type == SCTP_ABORT ||
			 sctp->chunk_type == SCTP_SHUTDOWN_COMPLETE)
			packet->tcp_flags = TCP_RST;
	}
	return true;
}

#endif
