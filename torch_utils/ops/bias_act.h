// Bias, activation, gain and clamp, and the derivatives of order 1 and 2: 16 bytes at a time where the layout is right for it.
//
// order 0: y = clamp(gain act(a + b))
// order 1: a gain slope(r), zero where the clamp acted         (a = dy)
// order 2: a other d(gain slope)/d(ref), likewise               (a = dy, other = ddx)
//
// The reference r is ref / gain where `ref` is the output y, and ref + b for swish, where it is the input x.

#pragma once

#include <initializer_list>

#include "portable.h"

namespace pv3d {

enum Act : int32_t { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };
constexpr int32_t kActs = 9;

// Mirrored field by field in bias_act.py. All tensors have the same strides and no gaps.
struct BiasActParams {
    const void* a;
    const void* bias;            // one per channel, or null
    const void* ref;             // orders 1 and 2
    const void* other;           // order 2
    void* out;
    int64_t total;               // elements
    int64_t bias_stride;         // distance in memory between neighbours along the bias's axis
    int64_t bias_size;
    int32_t order, act;
    double alpha, gain, clamp;   // clamp < 0: none
};

template <class R> PV3D_FUNCTION R sigmoid(R v) { return R(1) / (R(1) + std::exp(-v)); }

template <class R> struct Selu {
    static constexpr R scale = R(1.0507009873554805), floor = R(1.0507009873554805 * 1.6732632423543772);
};

constexpr double kSoftplusLimit = 20;    // softplus is the identity above it

template <int act, class R> PV3D_FUNCTION R act_value(R v, R alpha) {
    if (act == kRelu) return v > 0 || v != v ? v : R(0);                               // keeps NaN
    if (act == kLrelu) return v > 0 ? v : v * alpha;
    if (act == kTanh) return std::tanh(v);
    if (act == kSigmoid) return sigmoid(v);
    if (act == kElu) return v > 0 ? v : std::expm1(v);
    if (act == kSelu) return v > 0 ? v * Selu<R>::scale : std::expm1(v) * Selu<R>::floor;
    if (act == kSoftplus) return v > R(kSoftplusLimit) ? v : std::log1p(std::exp(v));
    if (act == kSwish) return v * sigmoid(v);
    return v;
}

template <int act, class R> PV3D_FUNCTION R act_slope(R r, R alpha) {
    if (act == kRelu) return r > 0 ? R(1) : R(0);
    if (act == kLrelu) return r > 0 ? R(1) : alpha;
    if (act == kTanh) return R(1) - r * r;
    if (act == kSigmoid) return r * (R(1) - r);
    if (act == kElu) return r > 0 ? R(1) : r + R(1);
    if (act == kSelu) return r > 0 ? Selu<R>::scale : r + Selu<R>::floor;
    if (act == kSoftplus) return r > R(kSoftplusLimit) ? R(1) : -std::expm1(-r);
    if (act == kSwish) return sigmoid(r) * (R(1) + r * (R(1) - sigmoid(r)));
    return R(1);
}

template <int act, class R> PV3D_FUNCTION R act_curve(R r) {
    if (act == kTanh) return R(-2) * r;
    if (act == kSigmoid) return R(1) - R(2) * r;
    if (act == kElu || act == kSelu) return r > 0 ? R(0) : R(1);
    if (act == kSoftplus) return r > R(kSoftplusLimit) ? R(0) : std::exp(-r);
    if (act == kSwish) {
        const R s = sigmoid(r);
        return s * (R(1) - s) * (R(2) + r * (R(1) - R(2) * s));
    }
    return R(0);
}

// The numbers that are the same for all elements.
template <class R> struct Constants {
    R alpha, gain, per_gain;
    R clamp;                                                 // NaN, which nothing exceeds, for none
};

// One element of a derivative of order 0, 1 or 2.
template <int act, int order, class R> PV3D_FUNCTION R bias_act_element(R a, R bias, R ref, R other, const Constants<R>& k) {
    if constexpr (order == 0) {
        const R y = act_value<act>(a + bias, k.alpha) * k.gain;
        const R below = y > k.clamp ? k.clamp : y;                                         // keeps NaN
        return below < -k.clamp ? -k.clamp : below;
    } else {
        constexpr bool by_sign = act == kLinear || act == kRelu || act == kLrelu;         // of r, which is that of ref
        const R r = act == kSwish ? ref + bias : by_sign ? ref : ref * k.per_gain;
        R d;
        if constexpr (order == 1)
            d = a * act_slope<act>(r, k.alpha) * k.gain;
        else
            d = a * other * act_curve<act>(r) * (act == kSwish ? k.gain : R(1));           // else the gains cancel
        const R y = act == kSwish ? act_value<act>(r, k.alpha) * k.gain : ref;
        return std::fabs(y) >= k.clamp ? R(0) : d;
    }
}

// Elements in packs of `lanes`, numbers start, start + step, ... The place along the bias's axis is found once and then moved.
template <class T, int act, int order, int lanes>
PV3D_FUNCTION void bias_act_packs(const BiasActParams& p, uint32_t start, uint32_t step) {
    using R = Real<T>;
    using Elements = Pack<T, lanes>;
    const R gain = R(p.gain);
    const Constants<R> constants = {R(p.alpha), gain, R(1) / gain, p.clamp >= 0 ? R(p.clamp) : R(NAN)};
    const T *a = static_cast<const T*>(p.a), *bias = static_cast<const T*>(p.bias);
    const T *ref = static_cast<const T*>(p.ref), *other = static_cast<const T*>(p.other);
    T* out = static_cast<T*>(p.out);

    const uint32_t stride = uint32_t(p.bias_stride), size = uint32_t(p.bias_size);
    const bool neighbours = stride == 1;                     // the elements of a pack are those of neighbouring channels
    uint32_t place = start * lanes % stride, channel = start * lanes / stride % size;
    const uint32_t places = step * lanes % stride, channels = step * lanes / stride % size;

    const uint32_t count = uint32_t(p.total / lanes);
    for (uint32_t i = start; i < count; i += step) {
        const Elements as = load<Elements>(a + i * lanes);
        const Elements refs = order >= 1 ? load<Elements>(ref + i * lanes) : Elements();
        const Elements others = order == 2 ? load<Elements>(other + i * lanes) : Elements();
        Elements biases;
        R shared = 0;
        if ((order == 0 || act == kSwish) && bias) {
            if (lanes > 1 && neighbours)
                biases = load<Elements>(bias + channel);
            else
                shared = R(bias[channel]);
            place += places;
            channel += channels;
            if (place >= stride) place -= stride, ++channel;
            if (channel >= size) channel -= size;
        }
        Elements results;
        PV3D_UNROLL for (int k = 0; k < lanes; ++k) {
            const R b = biases.get(k) + shared;
            results.set(k, bias_act_element<act, order, R>(as.get(k), b, refs.get(k), others.get(k), constants));
        }
        store(out + i * lanes, results);
    }
}

template <class T, int act, int lanes> struct BiasActKernel {
    static PV3D_FUNCTION void body(const BiasActParams& p, uint32_t start, uint32_t step) {
        if (p.order == 0) bias_act_packs<T, act, 0, lanes>(p, start, step);
        if (p.order == 1) bias_act_packs<T, act, 1, lanes>(p, start, step);
        if (p.order == 2) bias_act_packs<T, act, 2, lanes>(p, start, step);
    }
};

// Returns whether packs of `lanes` elements begin at multiples of their size, and each has one bias or one of its own for
// each element.
template <class T, int lanes> bool in_packs(const BiasActParams& p) {
    for (const void* at : {p.a, p.bias, p.ref, p.other, static_cast<const void*>(p.out)})
        if (reinterpret_cast<uintptr_t>(at) % sizeof(Pack<T, lanes>) != 0) return false;
    const bool biases_fit = !p.bias || p.bias_stride % lanes == 0 || (p.bias_stride == 1 && p.bias_size % lanes == 0);
    return biases_fit && p.total % lanes == 0;
}

// Calls launch(kernel, params, count) for pieces of a tensor that fit into one launch; each begins at channel 0.
template <class T, int act, class Launch> int bias_act_pieces(const BiasActParams& p, Launch launch) {
    return in_pieces(p.total, p.bias_stride * p.bias_size, [&](int64_t first, int64_t count) {
        BiasActParams part = p;
        const auto move = [&](const void* base) { return base ? static_cast<const T*>(base) + first : nullptr; };
        part.a = move(p.a), part.ref = move(p.ref), part.other = move(p.other);
        part.out = static_cast<T*>(p.out) + first;
        part.total = count;
        constexpr int lanes = sizeof(T) == sizeof(double) ? 1 : 16 / sizeof(T);             // double need not be fast
        if (in_packs<T, lanes>(part)) return launch(BiasActKernel<T, act, lanes>(), part, count / lanes);
        return launch(BiasActKernel<T, act, 1>(), part, count);
    });
}

// Calls visit(integral_constant<act>) for a run-time activation number; returns -1 where there is none such.
template <int act = 0, class Visit> int for_act(int32_t wanted, Visit visit) {
    if constexpr (act < kActs) {
        if (wanted == act) return visit(std::integral_constant<int, act>());
        return for_act<act + 1>(wanted, visit);
    }
    return -1;
}

}  // namespace pv3d
