/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Access to the maps. pydsr/kernel/bpf/maps.py creates them and says what each
 * holds and who writes it. The compiler gets their descriptors, or
 * placeholders for them, as PYDSR_FD_name.
 */
#ifndef PYDSR_MAPS_H
#define PYDSR_MAPS_H

#include "bpf.h"

#define MAP(name) ((void *)bpf_pseudo_fd(1, PYDSR_FD_##name))
/* The address of a one-element array's element: reading it takes no call. */
#define MAP_ELEMENT(name) ((void *)bpf_pseudo_fd(2, PYDSR_FD_##name))

#endif
