// CUDA C++ on the host: what a kernel source finds when it is compiled by g++ instead of NVRTC. See launcher.py.
#pragma once
#define SIMT_EMULATOR 1

#include <link.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <utility>
#include <ucontext.h>

#include "vectors.h"

#include "engine.h"

#include "races.h"

#include "intrinsics.h"

#include "wrappers.h"

#include "checks.h"

#include "kernel.h"
