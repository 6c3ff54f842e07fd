// The CUDA kernels' bodies as a host library with the same C interface: the loop over threads is an ordinary loop, and the
// 16-bit types are software. Tests run it in place of the CUDA library.

#include <cstring>

#include "bias_act.h"
#include "scale_act.h"
#include "upfirdn2d_strips.h"

namespace {

uint32_t bits_of(float v) { uint32_t bits; std::memcpy(&bits, &v, sizeof bits); return bits; }
float float_of(uint32_t bits) { float v; std::memcpy(&v, &bits, sizeof v); return v; }

struct BFloat16 {                                            // upper half of a float, rounded to nearest, ties to even
    uint16_t bits;
    explicit BFloat16(float v = 0) {
        const uint32_t u = bits_of(v);
        bits = v != v ? 0x7fc0 : uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
    operator float() const { return float_of(uint32_t(bits) << 16); }
};

struct Half {                                                // the compiler's own conversions
    _Float16 value;
    explicit Half(float v = 0) : value(static_cast<_Float16>(v)) {}
    operator float() const { return static_cast<float>(value); }
};

}  // namespace

template <> struct pv3d::IsUpperHalf<BFloat16> : std::true_type {};

namespace {

// How many elements at a time the kernel that ran last works on; 0: the generic kernel.
template <class Kernel> struct Lanes : std::integral_constant<int32_t, 0> {};
template <class T, int lanes, int up, int down>
struct Lanes<pv3d::StripKernel<T, lanes, up, down>> : std::integral_constant<int32_t, lanes> {};
template <class T, int act, int lanes>
struct Lanes<pv3d::BiasActKernel<T, act, lanes>> : std::integral_constant<int32_t, lanes> {};

constexpr uint32_t kThreads = 7;                             // coprime to the sizes in the tests

template <class Visit> int for_dtype(int32_t dtype, Visit visit) {
    switch (dtype) {
        case pv3d::kFloat32: return visit(float());
        case pv3d::kFloat64: return visit(double());
        case pv3d::kFloat16: return visit(Half());
        case pv3d::kBFloat16: return visit(BFloat16());
    }
    return -1;
}

}  // namespace

extern "C" {
int32_t lanes_of_last_kernel = -1;
}

extern "C" int pv3d_upfirdn2d(const pv3d::UpfirdnParams* params, int32_t dtype, int32_t, void*) {
    return for_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        return pv3d::upfirdn2d_pieces<T>(*params, [](auto kernel, const auto& part, uint32_t count) {
            lanes_of_last_kernel = Lanes<decltype(kernel)>::value;
            for (uint32_t thread = 0; thread < kThreads; ++thread) decltype(kernel)::body(part, count, thread, kThreads);
            return 0;
        });
    });
}

extern "C" int pv3d_bias_act(const pv3d::BiasActParams* params, int32_t dtype, int32_t, void*) {
    return for_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        return pv3d::for_act(params->act, [&](auto act) {
            const auto launch = [](auto kernel, const pv3d::BiasActParams& part, int64_t) {
                lanes_of_last_kernel = Lanes<decltype(kernel)>::value;
                for (uint32_t thread = 0; thread < kThreads; ++thread) decltype(kernel)::body(part, thread, kThreads);
                return 0;
            };
            return pv3d::bias_act_pieces<T, decltype(act)::value>(*params, launch);
        });
    });
}

extern "C" int pv3d_scale_act(const pv3d::ScaleActParams* params, int32_t dtype, int32_t, void*) {
    return for_dtype(dtype, [&](auto zero) {
        const auto launch = [](auto kernel, const pv3d::ScaleActParams& p, uint32_t count) {
            lanes_of_last_kernel = decltype(kernel)::lanes;
            for (uint32_t thread = 0; thread < kThreads; ++thread) decltype(kernel)::body(p, count, thread, kThreads);
            return 0;
        };
        return pv3d::scale_act_launch<decltype(zero)>(*params, launch);
    });
}
