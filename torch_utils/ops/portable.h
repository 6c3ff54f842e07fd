// What the kernels need to be compiled by nvcc for a GPU and by any C++17 compiler for the host (their tests).
//
// A kernel body is a template `body(params, start, step)` that handles elements start, start + step, ... On a GPU each thread
// calls it with its own number and the number of all threads; on the host a loop does.

#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define PV3D_FUNCTION __host__ __device__ __forceinline__
#else
#define PV3D_FUNCTION inline
#endif

namespace pv3d {

// Arithmetic type of a storage type: double for double, float for everything else.
template <class T> struct Arithmetic { using type = float; };
template <> struct Arithmetic<double> { using type = double; };

template <class T> using Real = typename Arithmetic<T>::type;

// Storage types by the number that Python passes.
enum Dtype : int32_t { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 3 };

// Element numbers within one launch fit into 31 bits, which makes their divisions cheap; larger tensors take several launches.
#ifndef PV3D_MAX_PIECE
#define PV3D_MAX_PIECE (int64_t(1) << 30)
#endif
constexpr int64_t kMaxPiece = PV3D_MAX_PIECE;

// Calls launch(first, count) for consecutive pieces of `total` elements, each a multiple of `period`. Stops at the first
// status other than 0 and returns it; returns -1 where a single period is too large.
template <class Launch> int in_pieces(int64_t total, int64_t period, Launch launch) {
    if (period > kMaxPiece) return -1;
    const int64_t piece = kMaxPiece / period * period;
    for (int64_t first = 0; first < total; first += piece) {
        const int status = launch(first, total - first < piece ? total - first : piece);
        if (status != 0) return status;
    }
    return 0;
}

}  // namespace pv3d
