/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Access to the maps. pydsr/kernel/bpf/maps.py creates them, says what each is
 * keyed by and who writes it, and gives their descriptors to the compiler as
 * PYDSR_FD_name; so these look-ups work from any header.
 */
#ifndef PYDSR_MAPS_H
#define PYDSR_MAPS_H

#define MAP(name) ((void *)bpf_pseudo_fd(1, PYDSR_FD_##name))
/* The element of an array of one: its address is in the program, no call is. */
#define MAP_ELEMENT(name) ((void *)bpf_pseudo_fd(2, PYDSR_FD_##name))

/* clang-format off */
static void *(*map_lookup)(void *map, const void *key) =
	(void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *map, const void *key, const void *value,
			  __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*map_delete)(void *map, const void *key) =
	(void *)BPF_FUNC_map_delete_elem;
static __u64 (*packet_length)(struct xdp_md *ctx) =
	(void *)BPF_FUNC_xdp_get_buff_len;
static __u64 (*clock_coarse)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static long (*packet_move_start)(struct xdp_md *ctx, int delta) =
	(void *)BPF_FUNC_xdp_adjust_head;
static long (*packet_redirect)(void *map, __u64 key, __u64 flags) =
	(void *)BPF_FUNC_redirect_map;
static long (*packet_resize)(struct xdp_md *ctx, int delta) =
	(void *)BPF_FUNC_xdp_adjust_tail;
static __s64 (*checksum_add)(__be32 *from, __u32 from_size, __be32 *to,
			     __u32 to_size, __wsum seed) =
	(void *)BPF_FUNC_csum_diff;
/* Of `pydsr tap`: */
static long (*program_call)(struct xdp_md *ctx, void *programs, __u32 index) =
	(void *)BPF_FUNC_tail_call;
static long (*packet_load)(struct xdp_md *ctx, __u32 offset, void *to,
			   __u32 size) = (void *)BPF_FUNC_xdp_load_bytes;
static __u32 (*random_number)(void) = (void *)BPF_FUNC_get_prandom_u32;
static __u64 (*clock_exact)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*ring_output)(void *ring, void *event, __u64 size, __u64 flags) =
	(void *)BPF_FUNC_ringbuf_output;
/* clang-format on */

#endif
