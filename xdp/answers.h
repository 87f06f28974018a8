/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers in the name of a VIP: ARP (RFC 826), neighbour discovery (RFC 4861) and
 * echo (RFC 792, RFC 4443). Each function turns the request into its answer in
 * place. Balanced packets take none of these paths.
 */
#ifndef PYDSR_ANSWERS_H
#define PYDSR_ANSWERS_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>

#include "address.h"
#include "bpf.h"
#include "interfaces.h"
#include "mac.h"
#include "packet.h"
#include "service_index.h"
#include "types.h"
#include "verdicts.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

#define ECHO4_REQUEST 8
#define ECHO4_REPLY 0
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define ANSWER_HOPS 64
#define ND_HOPS 255 /* proves that no router forwarded the packet */
#define ND_ADVERTISEMENT 136
#define ND_SOLICITATION 135
#define ND_OPTION_TARGET_MAC 2
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_ip[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_ip[4];
} __attribute__((packed));

struct echo_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 identifier;
	__be16 sequence;
};

struct nd_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct in6_addr target;
	/* One option: the link-layer address of the target. */
	__u8 option_type;
	__u8 option_words;
	__u8 mac[ETH_ALEN];
};

#define ND_PACKET_BYTES (sizeof(struct ipv6hdr) + sizeof(struct nd_message))
#define ND_BYTES_WITHOUT_OPTION (sizeof(struct nd_message) - 8)

/* Whether a request was sent to the interface, or by broadcast or multicast. */
static __always_inline bool
interface_is_asked(const struct interface *interface, const struct ethhdr *eth)
{
	return interface_is_known(interface) &&
	       ((eth->h_dest[0] & 1) || interface_owns(interface, eth->h_dest));
}

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Update a checksum after one 16-bit word changed (RFC 1624, equation 3). */
static __always_inline __sum16 checksum_replace(__sum16 checksum, __be16 from,
						__be16 to)
{
	return checksum_fold((__u64)(__u16)~checksum + (__u16)~from + to);
}

static __always_inline enum reason answer_arp(struct xdp_md *ctx,
					      const struct service_index *index,
					      const struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct arp_ipv4 *arp = data + packet->l3_offset;
	struct interface *interface;
	struct address target;
	struct service vip;
	__be32 target_ip, sender_ip;

	if ((void *)(arp + 1) > data_end ||
	    arp->hardware != bpf_htons(ARP_ETHERNET) ||
	    arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_bytes != ETH_ALEN || arp->protocol_bytes != 4 ||
	    arp->operation != bpf_htons(ARP_REQUEST))
		return REASON_NOT_IP;
	__builtin_memcpy(&target_ip, arp->target_ip, sizeof(target_ip));
	__builtin_memcpy(&sender_ip, arp->sender_ip, sizeof(sender_ip));
	target = address_map_ipv4(target_ip);
	/* Gratuitous ARP, say of another balancer, expects no answer. */
	if (!vip_find(index, &target, &vip) || !(vip.flags & SERVICE_ARP) ||
	    sender_ip == target_ip)
		return REASON_NOT_IP;
	interface = interface_find(ctx->ingress_ifindex);
	if (!interface_is_asked(interface, eth))
		return REASON_NOT_OUR_MAC;

	arp->operation = bpf_htons(ARP_REPLY);
	mac_copy(arp->target_mac, arp->sender_mac);
	mac_copy(eth->h_dest, arp->sender_mac);
	mac_copy(arp->sender_mac, interface->mac);
	mac_copy(eth->h_source, interface->mac);
	__builtin_memcpy(arp->sender_ip, &target_ip, sizeof(target_ip));
	__builtin_memcpy(arp->target_ip, &sender_ip, sizeof(sender_ip));
	return REASON_ARP_ANSWERED;
}

/* The ICMPv6 checksum of a message that fills the rest of its packet. */
static __always_inline __sum16 nd_checksum(struct ipv6hdr *ip,
					   struct nd_message *message)
{
	__be32 tail[2] = { bpf_htonl(sizeof(*message)),
			   bpf_htonl(IPPROTO_ICMPV6) };
	__u32 sum;

	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 32, 0);
	sum = bpf_csum_diff(NULL, 0, tail, sizeof(tail), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)message, sizeof(*message), sum);
	return checksum_fold(sum);
}

/*
 * Answer a neighbour solicitation for a VIP. A solicitation without the sender's
 * MAC (a probe for duplicates, or a unicast one) is shorter than the answer.
 */
static __always_inline enum reason answer_nd(struct xdp_md *ctx,
					     const struct service_index *index,
					     const struct packet *packet)
{
	int frame_bytes = packet->l3_offset + ND_PACKET_BYTES;
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + packet->l3_offset;
	struct nd_message *message = (void *)(ip + 1);
	struct interface *interface;
	struct address target, sender;
	struct ethhdr *eth = data;
	struct service vip;
	bool probing;

	if ((void *)message + ND_BYTES_WITHOUT_OPTION > data_end ||
	    ip->nexthdr != IPPROTO_ICMPV6 || message->type != ND_SOLICITATION ||
	    message->code || ip->hop_limit != ND_HOPS ||
	    bpf_ntohs(ip->payload_len) < ND_BYTES_WITHOUT_OPTION)
		return REASON_NOT_VIP;
	target = address_load_ipv6(&message->target);
	/* A mapped address would be found as an IPv4 VIP. */
	if (address_is_ipv4(&target))
		return REASON_NOT_VIP;
	if (!vip_find(index, &target, &vip) || !(vip.flags & SERVICE_ARP))
		return REASON_NOT_VIP;
	interface = interface_find(ctx->ingress_ifindex);
	if (!interface_is_asked(interface, eth))
		return REASON_NOT_OUR_MAC;

	if (bpf_xdp_adjust_tail(ctx, frame_bytes - (int)(data_end - data)))
		return REASON_MALFORMED;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	eth = data;
	ip = data + packet->l3_offset;
	message = (void *)(ip + 1);
	if ((void *)(message + 1) > data_end)
		return REASON_MALFORMED;

	sender = address_load_ipv6(&ip->saddr);
	probing = !sender.halves[0] && !sender.halves[1];
	mac_copy(eth->h_dest, eth->h_source);
	mac_copy(eth->h_source, interface->mac);
	ip->daddr = ip->saddr;
	ip->saddr = message->target;
	if (probing) { /* a prober has no address yet: answer to all nodes */
		struct in6_addr all_nodes = { .s6_addr = { 0xff, 0x02,
							   [15] = 1 } };
		__u8 all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };

		ip->daddr = all_nodes;
		mac_copy(eth->h_dest, all_nodes_mac);
	}
	ip->payload_len = bpf_htons(sizeof(*message));
	message->type = ND_ADVERTISEMENT;
	message->flags =
		bpf_htonl(probing ? ND_OVERRIDE : ND_SOLICITED | ND_OVERRIDE);
	message->option_type = ND_OPTION_TARGET_MAC;
	message->option_words = 1;
	mac_copy(message->mac, interface->mac);
	message->checksum = 0;
	message->checksum = nd_checksum(ip, message);
	return REASON_ND_ANSWERED;
}

static __always_inline void mac_swap(struct ethhdr *eth)
{
	__u8 sender[ETH_ALEN];

	mac_copy(sender, eth->h_source);
	mac_copy(eth->h_source, eth->h_dest);
	mac_copy(eth->h_dest, sender);
}

/* Answer an echo request; the caller knows that its destination is a VIP. */
static __always_inline enum reason answer_echo(struct xdp_md *ctx,
					       const struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct echo_message *icmp = data + (packet->l4_offset & L4_OFFSET_MASK);
	struct ethhdr *eth = data;
	bool is_ipv4 = packet->eth_proto == bpf_htons(ETH_P_IP);
	__u8 request = is_ipv4 ? ECHO4_REQUEST : ECHO6_REQUEST;
	__u8 reply = is_ipv4 ? ECHO4_REPLY : ECHO6_REPLY;

	if ((void *)(eth + 1) > data_end || (void *)(icmp + 1) > data_end ||
	    packet->frame_bytes < packet->l4_offset + sizeof(*icmp))
		return REASON_MALFORMED;
	if (!interface_owns(interface_find(ctx->ingress_ifindex), eth->h_dest))
		return REASON_NOT_OUR_MAC;
	/* An answer to a packet that claims to be from the VIP would loop. */
	if (icmp->type != request || icmp->code ||
	    address_equals(&packet->source, &packet->destination))
		return REASON_ICMP_OTHER;

	if (is_ipv4) {
		struct iphdr *ip = data + packet->l3_offset;
		__be32 vip = ip->daddr;
		__be16 before, after;

		if ((void *)(ip + 1) > data_end)
			return REASON_MALFORMED;
		/* TTL and protocol are one word of the header checksum. */
		before = bpf_htons(ip->ttl << 8 | ip->protocol);
		after = bpf_htons(ANSWER_HOPS << 8 | ip->protocol);
		ip->daddr = ip->saddr;
		ip->saddr = vip;
		ip->ttl = ANSWER_HOPS;
		ip->check = checksum_replace(ip->check, before, after);
	} else {
		struct ipv6hdr *ip = data + packet->l3_offset;
		struct in6_addr vip;

		if ((void *)(ip + 1) > data_end)
			return REASON_MALFORMED;
		vip = ip->daddr;
		ip->daddr = ip->saddr;
		ip->saddr = vip;
		ip->hop_limit = ANSWER_HOPS;
	}
	icmp->type = reply;
	icmp->checksum = checksum_replace(
		icmp->checksum, bpf_htons(request << 8), bpf_htons(reply << 8));
	/* In ones' complement 0xffff is zero too; only it is the sum of no zeros. */
	if (!icmp->checksum)
		icmp->checksum = 0xffff;
	mac_swap(eth);
	return REASON_ECHO_ANSWERED;
}

#endif
