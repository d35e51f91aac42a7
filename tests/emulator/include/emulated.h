// What a kernel's text sees when it is compiled for the host: the CUDA names that our kernels use, on top of the
// emulator. It comes before the program's first line (-include). No standard header is included: they would be most of
// the time of a compilation.
#pragma once
#define EMULATED 1

#include "emulated/types.h"

#include "emulated/thread.h"

#include "emulated/block.h"

#include "emulated/math.h"

#include "emulated/atomic.h"

#include "emulated/warp.h"

#include "emulated/primitives.h"

#include "emulated/entry.h"
