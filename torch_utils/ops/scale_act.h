// A scale for each image and channel, noise for each pixel, bias, leaky ReLU, gain and clamp, and the gradients of all of them.
//
// order 0: y = clamp(gain lrelu(x scale + noise + bias))
// order 1: dz = dy gain slope, zero where the clamp acted;  dx = dz scale;  and over the pixels of an image the sums of dz and of
//          dz w with w = x scale, which is had from y and need not be kept.
// Where y = x scale and nothing else, order 1 may be given x for y, and then w = x.
//
// Tensors are channels-last, [images, pixels, channels] in memory. A thread takes 16 bytes of channels down a run of pixels.

#pragma once

#include "portable.h"

namespace pv3d {

// Mirrored field by field in scale_act.py.
struct ScaleActParams {
    const void* in;              // x; order 1: dy
    const void* ref;             // order 1: y, or x
    const float* scale;          // [images, channels]
    const float* bias;           // [channels], or null
    const float* noise;          // [images or 1, pixels], or null
    void* out;                   // y; order 1: dx
    float* sums;                 // order 1: [2, runs, images, channels], of dz and dz w over the pixels of a run
    int64_t total;               // elements
    int64_t noise_stride;        // from image to image
    int32_t images, pixels, channels;
    int32_t run;                 // pixels of a thread
    int32_t order;
    double alpha, gain, clamp;   // slope of the leaky ReLU, 1: the identity; clamp < 0: none
};

template <class T, int lanes, int order> PV3D_FUNCTION void scale_act_run(const ScaleActParams& p, uint32_t item) {
    using Elements = Pack<T, lanes>;
    using Numbers = Pack<float, lanes>;
    const float alpha = float(p.alpha), gain = float(p.gain);
    const float clamp = p.clamp >= 0 ? float(p.clamp) : NAN; // which nothing exceeds
    const float positive = 1.0f / gain, negative = 1.0f / (gain * alpha);

    const uint32_t groups = p.channels / lanes, runs = (p.pixels + p.run - 1) / p.run;
    const uint32_t channel = item % groups * lanes, run = item / groups % runs, image = item / groups / runs;
    const int32_t first = run * p.run, left = p.pixels - first, count = left < p.run ? left : p.run;
    const int64_t start = (int64_t(image) * p.pixels + first) * p.channels + channel;
    const T* PV3D_RESTRICT in = static_cast<const T*>(p.in) + start;
    const T* PV3D_RESTRICT ref = order == 1 ? static_cast<const T*>(p.ref) + start : nullptr;
    const float* PV3D_RESTRICT noise = p.noise ? p.noise + image * p.noise_stride + first : nullptr;
    T* PV3D_RESTRICT out = static_cast<T*>(p.out) + start;
    const Numbers scale = load<Numbers>(p.scale + image * p.channels + channel);
    const Numbers bias = p.bias ? load<Numbers>(p.bias + channel) : Numbers();
    float sums[lanes] = {}, products[lanes] = {};

    PV3D_UNROLL_BY(4) for (int32_t i = 0; i < count; ++i) {
        const float shared = noise ? noise[i] : 0.0f;
        const Elements elements = load<Elements>(in);
        const Elements refs = order == 1 ? load<Elements>(ref) : Elements();
        Elements results;
        PV3D_UNROLL for (int k = 0; k < lanes; ++k) {
            if constexpr (order == 0) {
                const float z = elements.get(k) * scale.get(k) + (bias.get(k) + shared);
                const float y = (z > 0 ? z : z * alpha) * gain;
                const float below = y > clamp ? clamp : y;                                // keeps NaN
                results.set(k, below < -clamp ? -clamp : below);
            } else {
                const float r = refs.get(k);
                const float dz = std::fabs(r) >= clamp ? 0.0f : elements.get(k) * (r > 0 ? gain : gain * alpha);
                const float w = r * (r > 0 ? positive : negative) - (bias.get(k) + shared);
                sums[k] += dz;
                products[k] += dz * w;
                results.set(k, dz * scale.get(k));
            }
        }
        store(out, results);
        in += p.channels, out += p.channels;
        if (order == 1) ref += p.channels;
    }
    if (order == 1) {
        const int64_t place = (int64_t(run) * p.images + image) * p.channels + channel;
        for (int k = 0; k < lanes; ++k) {
            p.sums[place + k] = sums[k];
            p.sums[int64_t(runs) * p.images * p.channels + place + k] = products[k];
        }
    }
}

template <class T, int order> struct ScaleActKernel {
    static constexpr int lanes = 16 / sizeof(T);

    static PV3D_FUNCTION void body(const ScaleActParams& p, uint32_t count, uint32_t start, uint32_t step) {
        for (uint32_t item = start; item < count; item += step) scale_act_run<T, lanes, order>(p, item);
    }
};

// Calls launch(kernel, params, count). Returns -1 for arguments that no kernel takes.
template <class T, class Launch> int scale_act_launch(const ScaleActParams& p, Launch launch) {
    if constexpr (sizeof(T) == sizeof(double)) {
        return -1;
    } else {
        constexpr int lanes = 16 / sizeof(T);
        const int64_t runs = (p.pixels + p.run - 1) / p.run;
        const int64_t count = runs * p.images * (p.channels / lanes);
        if (p.channels % lanes != 0 || count > kMaxPiece) return -1;
        if (p.order == 0) return launch(ScaleActKernel<T, 0>(), p, static_cast<uint32_t>(count));
        return launch(ScaleActKernel<T, 1>(), p, static_cast<uint32_t>(count));
    }
}

}  // namespace pv3d
