// What the kernels need to be compiled by nvcc for a GPU and by any C++17 compiler for the host (their tests).
//
// A kernel body is a template `body(params, start, step)` that handles elements start, start + step, ... On a GPU each thread
// calls it with its own number and the number of all threads; on the host a loop does.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#define PV3D_FUNCTION __host__ __device__ __forceinline__
#define PV3D_UNROLL _Pragma("unroll")
#define PV3D_PRAGMA(text) _Pragma(#text)
#define PV3D_UNROLL_BY(times) PV3D_PRAGMA(unroll times)
#define PV3D_RESTRICT __restrict__
#else
#define PV3D_FUNCTION inline
#define PV3D_UNROLL
#define PV3D_UNROLL_BY(times)
#define PV3D_RESTRICT
#endif

namespace pv3d {

// Arithmetic type of a storage type: double for double, float for everything else.
template <class T> struct Arithmetic { using type = float; };
template <> struct Arithmetic<double> { using type = double; };

template <class T> using Real = typename Arithmetic<T>::type;

// Whether a 16-bit type is the upper half of a float.
template <class T> struct IsUpperHalf : std::false_type {};

// `count` neighbours in memory, loaded and stored at once: their address must be a multiple of their size. Kept in registers
// as whole words, from which a GPU converts 16-bit types without taking them out first.
template <class T, int count> struct alignas(sizeof(T) * count) Pack {
    using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
    using Word = std::conditional_t<sizeof(T) == 2 && count % 2 == 0, uint32_t, Bits>;
    static constexpr int per_word = sizeof(Word) / sizeof(T);
    Word words[count / per_word] = {};

    PV3D_FUNCTION Real<T> get(int k) const {
        if constexpr (IsUpperHalf<T>::value && per_word == 2) {
            const uint32_t upper = k % 2 ? words[k / 2] & 0xffff0000u : words[k / 2] << 16;
            float real;
            std::memcpy(&real, &upper, sizeof real);
            return real;
        } else {
            const Bits bits = static_cast<Bits>(words[k / per_word] >> k % per_word * 16);
            T value;
            std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
            return static_cast<Real<T>>(value);
        }
    }

    PV3D_FUNCTION void set(int k, Real<T> real) {            // once for each k
        const T value = static_cast<T>(real);
        Bits bits;
        std::memcpy(&bits, &value, sizeof value);
        words[k / per_word] |= static_cast<Word>(bits) << k % per_word * 16;
    }
};

template <class P, class T> PV3D_FUNCTION P load(const T* from) { return *reinterpret_cast<const P*>(from); }
template <class P, class T> PV3D_FUNCTION void store(T* to, const P& pack) { *reinterpret_cast<P*>(to) = pack; }

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
