/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The layout of the maps. pydsr/kernel/bpf/layout.py mirrors these structs, and
 * each time the program is compiled, static assertions compare the two.
 *
 * Addresses, ports and MACs are in network byte order, everything else is in
 * the host's. Padding is explicit, because the kernel compares keys as bytes.
 */
#ifndef PYDSR_TYPES_H
#define PYDSR_TYPES_H

#include <linux/types.h>

/*
 * Pinned maps carry it. Raise it with every change of these structs or of a
 * reason's number: pydsr then refuses maps of the old layout.
 */
#define LAYOUT_VERSION 3

/* A prime, chosen at attach. */
#define TABLE_SIZE PYDSR_TABLE_SIZE
/* Maglev balances well with many slots per backend; 16 is the least. */
#define MEMBERS_MAX (TABLE_SIZE / 16)

/* Ids fit the 16 bits of a slot; its lowest and highest value are not ids. */
#define BACKENDS_MAX 65535
#define SERVICES_MAX 16384
/* Indexes of an array; the kernel never reuses an interface index. */
#define INTERFACES_MAX 65536
#define NO_BACKEND 0
#define LOOK_UP_ONLY 0xffff

/* An IPv6 address, or an IPv4 address in its mapped form ::ffff:a.b.c.d. */
struct address {
	__u64 halves[2];
};

/*
 * The key of a service, or with is_vip set of the VIP itself. Port 0 is the
 * service of every port that has no service of its own.
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
	SERVICE_ACL = 1 << 2, /* it has source rules */
	SERVICE_ACL_ALL = 1 << 3, /* all services have source rules */
	SERVICE_GUARD = 1 << 4, /* it limits new flows per source */
	SERVICE_EVERY_PORT = 1
		<< 5, /* its port is 0; of VIPs: has such a service */
	/* Of VIPs: */
	SERVICE_UNSERVED_PASS = 1 << 6,
	SERVICE_UNSERVED_DROP = 1 << 7,
};

/* A service or VIP in the index: one word. */
struct service {
	__u32 id;
	__u8 affinity;
	__u8 flags;
	__u8 prefix; /* of 128 bits, for affinity by address */
	__u8 pad;
};

/* An entry of the index; an empty one has a key of zeros. */
struct service_entry {
	struct service_key key;
	struct service service;
};

/*
 * The index of services and VIPs: a hash table in one map element, where each
 * entry is in one of two buckets. The control plane replaces it as a whole. An
 * inlined look-up takes a third of the time of one in the kernel's hash map. A
 * bitmap rejects most packets that are not for a VIP.
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
	/* Odd; the hash of a key is multiplied by it. */
	__u64 salt;
	__u8 pad[56];
	/* A bit for each hash of an address, set if a VIP has that hash. */
	__u64 vips[INDEX_VIP_WORDS];
	struct service_bucket buckets[INDEX_BUCKETS];
};

/* The options of a service, for the control plane and the guard. */
struct service_config {
	__u32 id;
	__u32 learn_seconds;
	__u8 affinity;
	__u8 flags;
	__u8 netmask4;
	__u8 netmask6;
	/* New flows per second and source network; 0 is no limit. */
	__u32 max_new_flows;
	__u8 guard_netmask4;
	__u8 guard_netmask6;
	__u8 pad[6];
	char name[64];
};

/* What happens to packets for a port of a VIP without a service. */
enum unserved {
	UNSERVED_COUNT,
	UNSERVED_PASS,
	UNSERVED_DROP,
};

/* The options of a VIP, for the control plane. */
struct vip_config {
	__u8 unserved;
	__u8 pad[7];
};

enum backend_state {
	BACKEND_FREE,
	BACKEND_UP,
	BACKEND_DRAIN,
	BACKEND_DOWN,
	/* Removed; its id is not reused while flow records may name it. */
	BACKEND_RETIRED,
};

/* The 802.1Q or 802.1ad tag of frames to a backend; zeros are no tag. */
struct tag {
	__be16 protocol;
	__be16 vlan;
};

#define TAGS_MAX 2

/*
 * One backend of one service, in one cache line. The MAC and its padding are one
 * aligned word, written by one store: packets see the old MAC or the new one.
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

/* Bytes count whole Ethernet frames, new_flows TCP SYNs and SCTP INITs. */
struct counters {
	__u64 packets;
	__u64 bytes;
	__u64 new_flows;
};

/*
 * A slot is at rest if previous is NO_BACKEND. Otherwise it is changing, and its
 * flows are looked up in the records. LOOK_UP_ONLY: there are no older flows to
 * learn (see consistency.h).
 */
struct slot {
	__u16 current;
	__u16 previous;
};

/*
 * A service's table: one map element that is replaced as a whole, so that
 * members, weights and slots change in one step.
 */
struct member {
	__u32 weight;
	__u32 slots;
	__u16 backend;
	__u8 state;
	__u8 pad[5];
};

struct table {
	/* Nanoseconds of CLOCK_MONOTONIC; slots are learning until then. */
	__u64 learn_until;
	__u32 members_count;
	/* The number of slots that are changing. */
	__u32 tracked_slots;
	struct member members[MEMBERS_MAX];
	struct slot slots[TABLE_SIZE];
	__u8 pad[4];
};

/* A flow under the affinity of its service; unused parts are zero. */
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

/* A packet in fragments, of which only the first has ports. */
struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id; /* as on the wire; IPv4 has 16 bits of it */
	__u8 ip_proto;
	__u8 pad[3];
};

/* The backend that the first fragment went to. */
struct fragment {
	__u64 last_seen;
	__u32 service;
	__u16 backend;
	__u8 pad[2];
};

/* A source rule: the longest matching prefix of a scope decides. */
struct acl_key {
	__u32 prefix; /* in bits: 32 of the scope, then the source's */
	__u32 scope; /* a service id, or a scope of all services */
	struct address source;
};

/* One for each IP version, because ::/0 contains the mapped addresses. */
#define ACL_SCOPE_ALL4 0xfffffffe
#define ACL_SCOPE_ALL6 0xffffffff

enum acl_action {
	ACL_ALLOW,
	ACL_DENY,
};

struct acl_rule {
	__u32 action;
};

/* A source network whose new flows are limited. */
struct guard_key {
	struct address source;
	__u32 service;
	__u8 pad[4];
};

/*
 * When the next flow is due at the highest permitted rate, in nanoseconds of
 * CLOCK_MONOTONIC: the theoretical arrival time of ITU-T I.371's generic cell
 * rate algorithm.
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
	/* Set during a change; if it is interrupted, the next one recovers. */
	__u32 changing;
	/* Bits of enum feature: in the loaded program; requested; excluded. */
	__u32 features;
	__u32 features_with;
	__u32 features_without;
};

/* Parts that are compiled in if used, each by -DPYDSR_WITH_name. */
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

/* What pydsr_explain writes over the start of its frame. */
struct explanation {
	__u32 reason;
	__u32 service; /* or NO_SERVICE */
	__u32 slot; /* or NO_SLOT */
	__u16 backend;
	__u16 pad;
	__u32 egress; /* interface index; 0 if it is the ingress */
};

/* A mask too, because all of its bits are set. */
#define TAP_BYTES_MAX 2047

/* A captured packet as it came in, and what happened to it. */
struct tap_event {
	__u64 time; /* nanoseconds of CLOCK_MONOTONIC */
	__u32 reason;
	__u32 ingress;
	__u32 egress;
	__u32 service; /* valid if there is a backend */
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
