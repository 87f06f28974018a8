/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The fields of a packet; ethernet.h, ipv4.h, ipv6.h and l4.h fill them in. */
#ifndef PYDSR_PACKET_H
#define PYDSR_PACKET_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>

#include "bpf.h"
#include "types.h"

/* No parsed offset is larger. Masking by it bounds them for the verifier. */
#define L4_OFFSET_MASK 0x3ff

/* RFC 9293, section 3.1. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum fragment_place {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__be16 eth_proto; /* behind the VLAN tags */
	__u8 ip_proto;
	__u8 fragment; /* enum fragment_place */
	__u8 tcp_flags; /* for SCTP, the flags that mean the same */
	__u8 pad;
	__be16 priority; /* the outermost tag's TCI without its VLAN */
	__be32 fragment_id;
	__u32 l3_offset; /* both offsets are from the start of the frame */
	__u32 l4_offset;
	__u32 frame_bytes; /* Ethernet headers and the IP header's length */
	union {
		struct tag tags[TAGS_MAX];
		__u64 tags_word;
	};
};

/* Whether a packet opens a flow, if its protocol shows that. */
static __always_inline bool packet_opens(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether a packet may be one of its flow's last. */
static __always_inline bool packet_closes(const struct packet *packet)
{
	return packet->tcp_flags & (TCP_FIN | TCP_RST);
}

static __always_inline bool packet_is_icmp(const struct packet *packet)
{
	return packet->eth_proto == bpf_htons(ETH_P_IP) ?
		       packet->ip_proto == IPPROTO_ICMP :
		       packet->ip_proto == IPPROTO_ICMPV6;
}

#endif
