/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the maps hold. This file is the truth: pydsr/kernel/bpf/layout.py mirrors
 * it, and its mirror is compared with these structs by the compiler each time
 * the program is loaded.
 *
 * Addresses, ports and MACs are in network byte order, everything else in the
 * host's. Padding is explicit, so that keys compare as bytes.
 */
#ifndef PYDSR_TYPES_H
#define PYDSR_TYPES_H

#define LAYOUT_VERSION 3

/* Chosen at attach: a prime, and 16 bits of it name a backend. */
#define TABLE_SIZE PYDSR_TABLE_SIZE
/* Maglev wants many slots for each backend: fewer than 16 are not offered. */
#define MEMBERS_MAX (TABLE_SIZE / 16)

/* Backend ids fit a slot, whose lowest and highest value mean other things. */
#define BACKENDS_MAX 65535
#define SERVICES_MAX 16384
/* An array by interface index, which grows with every interface made. */
#define INTERFACES_MAX 65536
#define NO_BACKEND 0
#define LOOK_UP_ONLY 0xffff

/* An IPv6 address, or an IPv4 address in its mapped form ::ffff:a.b.c.d. */
struct address {
	__u64 halves[2];
};

/*
 * A port and protocol of a VIP, or the VIP itself, which no packet can claim.
 * Port 0 stands for every port that has no service of its own.
 */
struct service_key {
	struct address vip;
	union {
		struct {
			__be16 port;
			__u8 ip_proto;
			__u8 is_vip;
			__u8 pad[4];
		};
		__u64 tail;
	};
};

enum affinity {
	AFFINITY_FLOW,
	AFFINITY_SOURCE,
	AFFINITY_DESTINATION,
};

enum service_flag {
	SERVICE_ONE_PACKET = 1 << 0,
	SERVICE_ARP = 1 << 1, /* of services and VIPs */
	SERVICE_ACL = 1 << 2, /* there are source rules for it */
	SERVICE_ACL_ALL = 1 << 3, /* there are source rules for all services */
	SERVICE_GUARD = 1 << 4, /* new flows of a source are limited */
	SERVICE_EVERY_PORT = 1 << 5, /* it is one; of a VIP: it has one */
	/* Of VIPs: */
	SERVICE_UNSERVED_PASS = 1 << 6,
	SERVICE_UNSERVED_DROP = 1 << 7,
};

/* A service, or a VIP, as the program finds it: one word. */
struct service {
	__u32 id;
	__u8 affinity;
	__u8 flags;
	__u8 prefix; /* bits of 128 that affinity by address keeps */
	__u8 pad;
};

/* An entry of the index; the key is zero where none is. */
struct service_entry {
	struct service_key key;
	struct service service;
};

/*
 * The services and VIPs, as a hash table of our own in one map element: each
 * is in one of two buckets. It is made by the control plane and replaced as a
 * whole. An inlined look-up in it takes a third of the time that one in the
 * kernel's hash map does. What is for no VIP is told by one bit.
 */
#define INDEX_VIP_BITS 16
#define INDEX_VIP_WORDS (1 << (INDEX_VIP_BITS - 6))
#define INDEX_BUCKET_BITS 15
#define INDEX_BUCKETS (1 << INDEX_BUCKET_BITS)
#define INDEX_BUCKET_SERVICES 4

struct service_bucket {
	struct service_entry entries[INDEX_BUCKET_SERVICES];
};

struct service_index {
	/* An odd number that the hash of a key is multiplied by. */
	__u64 salt;
	__u8 pad[56];
	/* A bit for each hash of an address; that of a VIP is set. */
	__u64 vips[INDEX_VIP_WORDS];
	struct service_bucket buckets[INDEX_BUCKETS];
};

/* What the control plane knows of a service, by its key. */
struct service_config {
	__u32 id;
	__u32 learn_seconds;
	__u8 affinity;
	__u8 flags;
	__u8 netmask4;
	__u8 netmask6;
	/* New flows a second of one source network; 0 does not limit. */
	__u32 max_new_flows;
	__u8 guard_netmask4;
	__u8 guard_netmask6;
	__u8 pad[6];
	char name[64];
};

/* What becomes of packets for a VIP's port that no service has. */
enum unserved {
	UNSERVED_COUNT,
	UNSERVED_PASS,
	UNSERVED_DROP,
};

/* What the control plane knows of a VIP, by its address, beside its services. */
struct vip_config {
	__u8 unserved;
	__u8 pad[7];
};

enum backend_state {
	BACKEND_FREE,
	BACKEND_UP,
	BACKEND_DRAIN,
	BACKEND_DOWN,
	/* Removed, but flow records may still name it: the id waits. */
	BACKEND_RETIRED,
};

/* An 802.1Q or 802.1ad tag as a backend's frames carry it; zeros are no tag. */
struct tag {
	__be16 protocol;
	__be16 vlan;
};

#define TAGS_MAX 2

/*
 * One backend of one service, in one cache line. The MAC and its two bytes of
 * padding are one aligned word, written with a single store: a packet sees
 * the old MAC or the new one.
 */
struct backend {
	__u8 mac[6];
	__u8 pad[2];
	__u32 ifindex;
	__u32 service;
	__u8 state;
	__u8 mac_by_hand;
	__u8 pad2[6];
	struct address address;
	/* Outermost first. */
	union {
		struct tag tags[TAGS_MAX];
		__u64 tags_word;
	};
	__u8 pad3[16];
};

/* Bytes are of whole Ethernet frames; new flows are TCP SYNs and SCTP INITs. */
struct counters {
	__u64 packets;
	__u64 bytes;
	__u64 new_flows;
};

/*
 * previous == NO_BACKEND: the slot is at rest. Otherwise it is changing, and
 * flows are looked up in the records; with LOOK_UP_ONLY, no older ones are
 * learnt (see consistency.h).
 */
struct slot {
	__u16 current;
	__u16 previous;
};

/*
 * A service's table: one map element, replaced as a whole, so that its
 * members, their weights and the slots made of them change in one step.
 */
struct member {
	__u32 weight;
	__u32 slots;
	__u16 backend;
	__u8 state;
	__u8 pad[5];
};

struct table {
	/* CLOCK_MONOTONIC nanoseconds until which flows are learnt. */
	__u64 learn_until;
	__u32 members_count;
	/* How many slots are not at rest. */
	__u32 tracked_slots;
	struct member members[MEMBERS_MAX];
	struct slot slots[TABLE_SIZE];
	__u8 pad[4];
};

/* A flow as its service tells flows apart; unused parts are zero. */
struct flow_key {
	struct address address;
	__u32 service;
	__be16 source_port;
	__be16 destination_port;
};

enum record_flag {
	RECORD_CLOSING = 1 << 0,
};

struct record {
	__u64 last_seen;
	__u32 slot;
	__u16 backend;
	__u16 flags;
};

/* A packet in fragments, which carry no ports but for the first. */
struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id; /* as on the wire; IPv4 has 16 bits of it */
	__u8 ip_proto;
	__u8 pad[3];
};

/* Where the first fragment of a packet went. */
struct fragment {
	__u64 last_seen;
	__u32 service;
	__u16 backend;
	__u8 pad[2];
};

/* A source rule: the longest matching prefix of a scope decides. */
struct acl_key {
	__u32 prefix; /* bits of what follows: 32 of the scope, those of the address */
	__u32 scope; /* a service's id, or one of the scopes of all services */
	struct address source;
};

/* One for each version of IP: ::/0 holds the mapped addresses as well. */
#define ACL_SCOPE_ALL4 0xfffffffe
#define ACL_SCOPE_ALL6 0xffffffff

enum acl_action {
	ACL_ALLOW,
	ACL_DENY,
};

struct acl_rule {
	__u32 action;
};

/* A source network whose new flows a service limits. */
struct guard_key {
	struct address source;
	__u32 service;
	__u8 pad[4];
};

/*
 * When the next flow is due if they come at the highest rate, in nanoseconds
 * of CLOCK_MONOTONIC (the theoretical arrival time of the generic cell rate
 * algorithm, ITU-T I.371).
 */
struct guard {
	__u64 due;
};

struct interface {
	__u8 mac[6];
	__u8 pad[2];
};

struct settings {
	__u32 layout_version;
	__u32 table_size;
	__u64 seed;
	/* Set while a change is under way: the next one finds what it left. */
	__u32 changing;
	/* Bits of enum feature: those in the loaded program, and those asked for or refused. */
	__u32 features;
	__u32 features_with;
	__u32 features_without;
};

/* Parts that are compiled in where the configuration uses them (-DPYDSR_WITH_name). */
enum feature {
	FEATURE_VLAN = 1 << 0,
	FEATURE_REDIRECT = 1 << 1,
	FEATURE_FRAGMENTS = 1 << 2,
	FEATURE_EVERY_PORT = 1 << 3,
	FEATURE_ACL = 1 << 4,
	FEATURE_GUARD = 1 << 5,
	FEATURE_TAP = 1 << 6,
};

#define NO_SERVICE 0xffffffff
#define NO_SLOT 0xffffffff

/* What pydsr_explain writes over the start of the packet it was given. */
struct explanation {
	__u32 reason;
	__u32 service; /* or NO_SERVICE */
	__u32 slot; /* or NO_SLOT */
	__u16 backend;
	__u16 pad;
	__u32 egress; /* interface index, where another than it came in by; else 0 */
};

/* All bits set, so that it is a mask as well. */
#define TAP_BYTES_MAX 2047

/* A packet that was tapped, as it came in, and what became of it. */
struct tap_event {
	__u64 time; /* nanoseconds of CLOCK_MONOTONIC */
	__u32 reason;
	__u32 ingress;
	__u32 egress;
	__u32 service; /* meaningful where there is a backend */
	__u32 backend;
	__u32 frame_bytes;
	__u32 captured_bytes;
	__u32 pad;
	__u8 frame[TAP_BYTES_MAX + 1];
};

_Static_assert(sizeof(struct service_key) == 24, "keys have no hidden bytes");
_Static_assert(sizeof(struct service) == 8, "a service is read by one load");
_Static_assert(sizeof(struct service_bucket) == 128, "two cache lines");
_Static_assert(sizeof(struct backend) == 64, "a backend is one cache line");
_Static_assert(sizeof(struct slot) == 4, "a slot is read by one load");
_Static_assert(sizeof(struct flow_key) == 24, "keys have no hidden bytes");
_Static_assert(sizeof(struct fragment_key) == 40, "keys have no hidden bytes");
_Static_assert(sizeof(struct acl_key) == 24, "keys have no hidden bytes");
_Static_assert(sizeof(struct guard_key) == 24, "keys have no hidden bytes");

#endif
