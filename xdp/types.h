/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the maps hold. This file is the truth: pydsr/kernel/layout.py mirrors
 * it, and its mirror is compared with these structs by the compiler each time
 * the program is loaded.
 *
 * Addresses, ports and MACs are in network byte order, everything else in the
 * host's. Padding is explicit, so that keys compare as bytes.
 */
#ifndef PYDSR_TYPES_H
#define PYDSR_TYPES_H

#define LAYOUT_VERSION 1

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

/* A port and protocol of a VIP, or the VIP itself, which no packet can claim. */
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
	SERVICE_ARP = 1 << 1,
};

/* A service, or a VIP, as the program finds it; the key is zero where none is. */
struct service {
	struct service_key key;
	__u32 id;
	__u8 affinity;
	__u8 flags;
	__u8 prefix; /* bits of 128 that affinity by address keeps */
	__u8 pad;
};

/*
 * The services and VIPs, as a hash table of our own in one map element: each
 * is in one of two buckets. It is made by the control plane and replaced as a
 * whole. An inlined look-up in it takes a third of the time that one in the
 * kernel's hash map does.
 */
#define INDEX_BUCKET_BITS 15
#define INDEX_BUCKETS (1 << INDEX_BUCKET_BITS)
#define INDEX_BUCKET_SERVICES 4

struct service_bucket {
	struct service services[INDEX_BUCKET_SERVICES];
};

struct service_index {
	__u64 salt;
	__u8 pad[56];
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
	__u8 pad[4];
	char name[64];
};

enum backend_state {
	BACKEND_FREE,
	BACKEND_UP,
	BACKEND_DRAIN,
	BACKEND_DOWN,
	/* Removed, but flow records may still name it: the id waits. */
	BACKEND_RETIRED,
};

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
	__u8 pad3[24];
};

/* Bytes are of whole Ethernet frames; new flows are TCP SYNs. */
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
	__u8 pad[4];
};

/* What pydsr_explain writes over the start of the packet it was given. */
struct explanation {
	__u32 reason;
	__u32 service;
	__u32 slot;
	__u16 backend;
	__u16 pad;
};

_Static_assert(sizeof(struct service_key) == 24, "keys have no hidden bytes");
_Static_assert(sizeof(struct service_bucket) == 128, "two cache lines");
_Static_assert(sizeof(struct backend) == 64, "a backend is one cache line");
_Static_assert(sizeof(struct slot) == 4, "a slot is read by one load");
_Static_assert(sizeof(struct flow_key) == 24, "keys have no hidden bytes");

#endif
