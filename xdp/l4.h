/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Parsing TCP, UDP and SCTP: ports, and the flags that open or close a flow. */
#ifndef PYDSR_L4_H
#define PYDSR_L4_H

#include <uapi/linux/in.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#include "bpf.h"
#include "packet.h"

/* All flags are in one octet; the kernel's struct has bit fields. */
#define TCP_FLAGS_OFFSET 13

#define SCTP_INIT 1
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN_COMPLETE 14

/* RFC 9260, section 3: the common header, and the head of the first chunk. */
struct sctp_packet {
	__be16 source;
	__be16 destination;
	__be32 verification;
	__be32 checksum;
	__u8 chunk_type;
	__u8 chunk_flags;
	__be16 chunk_bytes;
};

static __always_inline __u8 tcp_flags(const struct tcphdr *tcp)
{
	return ((const __u8 *)tcp)[TCP_FLAGS_OFFSET];
}

/* Whether a header that ends at `end` is inside the frame and the IP packet. */
static __always_inline bool l4_fits(const struct packet *packet, void *end,
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

		if (!l4_fits(packet, tcp + 1, data_end, sizeof(*tcp)))
			return false;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->tcp_flags = tcp_flags(tcp);
		return true;
	}
	if (packet->ip_proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if (!l4_fits(packet, udp + 1, data_end, sizeof(*udp)))
			return false;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		return true;
	}
	if (packet->ip_proto == IPPROTO_SCTP) {
		struct sctp_packet *sctp = l4;

		if (!l4_fits(packet, sctp + 1, data_end, sizeof(*sctp)))
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

/* For a packet of `ip_bytes` in all, `header_bytes` of them IP's header. */
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
	/* Both protocols begin with the two ports. */
	packet->source_port = tcp->source;
	packet->destination_port = tcp->dest;
	return true;
}

#endif
