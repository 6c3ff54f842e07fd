// Upsample, pad or crop, filter, downsample: one thread per output pixel, only the taps that meet a sample are visited.

#pragma once

#include "portable.h"

namespace pv3d {

// Mirrored field by field in upfirdn2d.py. Axes 0...3 are x, y, channel, image; strides count elements.
struct UpfirdnParams {
    const void* x;
    const void* f;               // taps [filter_y, filter_x], contiguous, in the arithmetic type of x
    void* y;
    int64_t x_stride[4];
    int64_t y_stride[4];
    int32_t in_size[4];
    int32_t out_size[4];
    int32_t filter[2];           // taps along x and y
    int32_t up[2];
    int32_t down[2];
    int32_t pad[2];              // before the first pixel, in upsampled pixels; negative crops
    int32_t flip;                // 1: correlate with f as it is, 0: convolve
    int32_t channels_last;       // y's fastest axis is the channel, not x
    double gain;
};

// The taps of one axis that meet a sample for one output: tap, tap + up, ... against samples sample, sample + 1, ...
struct Taps {
    int32_t tap, sample, count;
};

PV3D_FUNCTION Taps find_taps(int32_t out, int32_t size, int32_t taps, int32_t up, int32_t down, int32_t pad) {
    const int32_t position = out * down - pad;                    // of the first tap, in upsampled pixels
    int32_t sample = position >= 0 ? (position + up - 1) / up : -(-position / up);          // ceil(position / up)
    if (sample < 0) sample = 0;
    const int32_t tap = sample * up - position;
    int32_t count = tap < taps ? (taps - tap + up - 1) / up : 0;
    if (count > size - sample) count = size - sample;
    return Taps{tap, sample, count < 0 ? 0 : count};
}

template <class T> PV3D_FUNCTION void upfirdn2d_body(const UpfirdnParams& p, uint32_t count, uint32_t start, uint32_t step) {
    const T* x = static_cast<const T*>(p.x);
    const Real<T>* f = static_cast<const Real<T>*>(p.f);
    T* y = static_cast<T*>(p.y);
    const uint32_t width = p.out_size[0], height = p.out_size[1], channels = p.out_size[2];

    for (uint32_t i = start; i < count; i += step) {
        uint32_t ox, oy, channel, image, rest = i;
        if (p.channels_last) {
            channel = rest % channels, rest /= channels;
            ox = rest % width, rest /= width;
            oy = rest % height, image = rest / height;
        } else {
            ox = rest % width, rest /= width;
            oy = rest % height, rest /= height;
            channel = rest % channels, image = rest / channels;
        }
        const Taps h = find_taps(ox, p.in_size[0], p.filter[0], p.up[0], p.down[0], p.pad[0]);
        const Taps v = find_taps(oy, p.in_size[1], p.filter[1], p.up[1], p.down[1], p.pad[1]);
        const T* corner = x + image * p.x_stride[3] + channel * p.x_stride[2];

        Real<T> sum = 0;
        for (int32_t j = 0; j < v.count; ++j) {
            const T* line = corner + (v.sample + j) * p.x_stride[1] + h.sample * p.x_stride[0];
            const int32_t fy = v.tap + j * p.up[1];
            const Real<T>* taps = f + int64_t(p.flip ? fy : p.filter[1] - 1 - fy) * p.filter[0];
            for (int32_t k = 0; k < h.count; ++k) {
                const int32_t fx = h.tap + k * p.up[0];
                sum += static_cast<Real<T>>(line[k * p.x_stride[0]]) * taps[p.flip ? fx : p.filter[0] - 1 - fx];
            }
        }
        y[image * p.y_stride[3] + channel * p.y_stride[2] + oy * p.y_stride[1] + ox * p.y_stride[0]] =
            static_cast<T>(sum * static_cast<Real<T>>(p.gain));
    }
}

// The kernel for everything.
template <class T> struct GenericKernel {
    using Params = UpfirdnParams;

    static PV3D_FUNCTION void body(const UpfirdnParams& p, uint32_t count, uint32_t start, uint32_t step) {
        upfirdn2d_body<T>(p, count, start, step);
    }
};

}  // namespace pv3d
