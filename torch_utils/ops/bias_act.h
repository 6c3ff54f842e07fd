// Bias, activation, gain and clamp, and the derivatives of order 1 and 2: one thread per element.
//
// order 0: y = clamp(gain act(a + b))
// order 1: a gain slope(r), zero where the clamp acted         (a = dy)
// order 2: a other d(gain slope)/d(ref), likewise               (a = dy, other = ddx)
//
// The reference r is ref / gain where `ref` is the output y, and ref + b for swish, where it is the input x.

#pragma once

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

template <class T, int act> PV3D_FUNCTION void bias_act_body(const BiasActParams& p, uint32_t start, uint32_t step) {
    using R = Real<T>;
    const R alpha = R(p.alpha), gain = R(p.gain), clamp = R(p.clamp);
    const uint32_t count = uint32_t(p.total), bias_stride = uint32_t(p.bias_stride), bias_size = uint32_t(p.bias_size);

    for (uint32_t i = start; i < count; i += step) {
        const R bias = p.bias ? R(static_cast<const T*>(p.bias)[i / bias_stride % bias_size]) : R(0);
        const R a = R(static_cast<const T*>(p.a)[i]);
        R out;
        if (p.order == 0) {
            out = act_value<act>(a + bias, alpha) * gain;
            if (clamp >= 0) out = out > clamp ? clamp : out < -clamp ? -clamp : out;
        } else {
            const R ref = R(static_cast<const T*>(p.ref)[i]);
            const R r = act == kSwish ? ref + bias : ref / gain;
            out = a * act_slope<act>(r, alpha) * gain;
            if (p.order == 2) {
                const R weight = act == kSwish ? gain : R(1);                              // else the gains cancel
                out = a * R(static_cast<const T*>(p.other)[i]) * act_curve<act>(r) * weight;
            }
            const R y = act == kSwish ? act_value<act>(r, alpha) * gain : ref;
            if (clamp >= 0 && (y >= clamp || y <= -clamp)) out = 0;
        }
        static_cast<T*>(p.out)[i] = static_cast<T>(out);
    }
}

// Calls launch(params) for pieces of a tensor that fit into one launch; each begins at channel 0.
template <class T, class Launch> int bias_act_pieces(BiasActParams p, Launch launch) {
    return in_pieces(p.total, p.bias_stride * p.bias_size, [&](int64_t first, int64_t count) {
        BiasActParams part = p;
        const auto move = [&](const void* base) { return base ? static_cast<const T*>(base) + first : nullptr; };
        part.a = move(p.a), part.ref = move(p.ref), part.other = move(p.other);
        part.out = static_cast<T*>(p.out) + first;
        part.total = count;
        return launch(part);
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
