/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a VIP says for itself: ARP (RFC 826), neighbour discovery (RFC 4861)
 * and echo (RFC 792, RFC 4443). Each function turns the request into its
 * answer in place. None of it is on the path of balanced packets.
 */
#ifndef PYDSR_ANSWERS_H
#define PYDSR_ANSWERS_H

#include "maps.h"
#include "packet.h"
#include "services.h"

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

#define ECHO4_REQUEST 8
#define ECHO4_REPLY 0
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

#define ANSWER_HOPS 64
#define ND_HOPS 255 /* proof that no router forwarded it */
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
	/* One option: the link-layer address. */
	__u8 option_type;
	__u8 option_words;
	__u8 mac[ETH_ALEN];
};

#define ND_PACKET_BYTES (sizeof(struct ipv6hdr) + sizeof(struct nd_message))
#define ND_BYTES_WITHOUT_OPTION (sizeof(struct nd_message) - 8)

/* Whether a question was sent to the interface, or to many. */
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

/* RFC 1624, equation 3: a checksum after one of its 16-bit words changed. */
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
	    arp->hardware != swap16(ARP_ETHERNET) ||
	    arp->protocol != swap16(ETH_P_IP) ||
	    arp->hardware_bytes != ETH_ALEN || arp->protocol_bytes != 4 ||
	    arp->operation != swap16(ARP_REQUEST))
		return REASON_NOT_IP;
	__builtin_memcpy(&target_ip, arp->target_ip, sizeof(target_ip));
	__builtin_memcpy(&sender_ip, arp->sender_ip, sizeof(sender_ip));
	target = address_map_ipv4(target_ip);
	/* A gratuitous request, of another balancer say, asks nothing. */
	if (!vip_find(index, &target, &vip) || !(vip.flags & SERVICE_ARP) ||
	    sender_ip == target_ip)
		return REASON_NOT_IP;
	interface = interface_find(ctx->ingress_ifindex);
	if (!interface_is_asked(interface, eth))
		return REASON_NOT_OUR_MAC;

	arp->operation = swap16(ARP_REPLY);
	mac_copy(arp->target_mac, arp->sender_mac);
	mac_copy(eth->h_dest, arp->sender_mac);
	mac_copy(arp->sender_mac, interface->mac);
	mac_copy(eth->h_source, interface->mac);
	__builtin_memcpy(arp->sender_ip, &target_ip, sizeof(target_ip));
	__builtin_memcpy(arp->target_ip, &sender_ip, sizeof(sender_ip));
	return REASON_ARP_ANSWERED;
}

/* The checksum of an ICMPv6 message that fills the rest of its packet. */
static __always_inline __sum16 nd_checksum(struct ipv6hdr *ip,
					   struct nd_message *message)
{
	__be32 tail[2] = { swap32(sizeof(*message)), swap32(IPPROTO_ICMPV6) };
	__s64 sum;

	sum = checksum_add(NULL, 0, (__be32 *)&ip->saddr, 32, 0);
	sum = checksum_add(NULL, 0, tail, sizeof(tail), sum);
	sum = checksum_add(NULL, 0, (__be32 *)message, sizeof(*message), sum);
	return checksum_fold(sum);
}

/*
 * Answer a neighbour solicitation for a VIP. Without an option for the
 * sender's MAC (it is probing for duplicates, or asks by unicast) the frame
 * is shorter than its answer.
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
	    swap16(ip->payload_len) < ND_BYTES_WITHOUT_OPTION)
		return REASON_NOT_VIP;
	target = address_load_ipv6(&message->target);
	/* As a mapped address it would be an IPv4 VIP. */
	if (address_is_ipv4(&target))
		return REASON_NOT_VIP;
	if (!vip_find(index, &target, &vip) || !(vip.flags & SERVICE_ARP))
		return REASON_NOT_VIP;
	interface = interface_find(ctx->ingress_ifindex);
	if (!interface_is_asked(interface, eth))
		return REASON_NOT_OUR_MAC;

	if (packet_resize(ctx, frame_bytes - (int)(data_end - data)))
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
	if (probing) { /* the prober has no address yet: tell everyone */
		struct in6_addr all_nodes = { .s6_addr = { 0xff, 0x02,
							   [15] = 1 } };
		__u8 all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };

		ip->daddr = all_nodes;
		mac_copy(eth->h_dest, all_nodes_mac);
	}
	ip->payload_len = swap16(sizeof(*message));
	message->type = ND_ADVERTISEMENT;
	message->flags =
		swap32(probing ? ND_OVERRIDE : ND_SOLICITED | ND_OVERRIDE);
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

/* Answer an echo request to a VIP; the packet is known to be for a VIP. */
static __always_inline enum reason answer_echo(struct xdp_md *ctx,
					       const struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct echo_message *icmp = data + (packet->l4_offset & L4_OFFSET_MASK);
	struct ethhdr *eth = data;
	bool is_ipv4 = packet->eth_proto == swap16(ETH_P_IP);
	__u8 request = is_ipv4 ? ECHO4_REQUEST : ECHO6_REQUEST;
	__u8 reply = is_ipv4 ? ECHO4_REPLY : ECHO6_REPLY;

	if ((void *)(eth + 1) > data_end || (void *)(icmp + 1) > data_end ||
	    packet->frame_bytes < packet->l4_offset + sizeof(*icmp))
		return REASON_MALFORMED;
	if (!interface_owns(interface_find(ctx->ingress_ifindex), eth->h_dest))
		return REASON_NOT_OUR_MAC;
	/* A packet that claims to come from the VIP would be answered for ever. */
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
		before = swap16(ip->ttl << 8 | ip->protocol);
		after = swap16(ANSWER_HOPS << 8 | ip->protocol);
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
	icmp->checksum = checksum_replace(icmp->checksum, swap16(request << 8),
					  swap16(reply << 8));
	/* Of an answer that is all zeros the sum is 0, whose complement is not. */
	if (!icmp->checksum)
		icmp->checksum = 0xffff;
	mac_swap(eth);
	return REASON_ECHO_ANSWERED;
}

#endif
