/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* MAC addresses as words. */
#ifndef PYDSR_MAC_H
#define PYDSR_MAC_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"

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

/* Two stores; from a memcpy() the compiler would make six. */
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

#endif
