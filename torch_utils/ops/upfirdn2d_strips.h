// upfirdn2d for 4 x 4 taps at equal, doubled and halved resolution: each thread walks down a strip of the image, reads each
// row of it once, and adds it to the output rows that it takes part in, which stay in registers until they are complete.

#pragma once

#include <initializer_list>

#include "upfirdn2d.h"

namespace pv3d {

// A strip is shortened until a launch has as many threads as this, which keep a large GPU busy.
#ifndef PV3D_ENOUGH_THREADS
#define PV3D_ENOUGH_THREADS (int64_t(1) << 18)
#endif
constexpr int64_t kEnoughThreads = PV3D_ENOUGH_THREADS;
constexpr int32_t kLongestStrip = 32, kShortestStrip = 4;    // in steps that complete rows
constexpr int kTaps = 4;                                     // along both axes
constexpr float kSeparable = 1e-6f;                          // how far from an outer product, over the largest tap

struct StripParams : UpfirdnParams {
    int32_t steps;                                           // of a strip that complete rows
};

// The shape of a strip. A step reads `down` input rows of `samples` pixels and completes `rows` output rows of `columns`;
// `pending` more rows have been begun. The first `warm_up` steps complete none.
template <int up, int down> struct Strip {
    static_assert(up * down <= 2, "other scales have no strips");
    static constexpr int rows = up, columns = down == 2 ? 1 : 2;
    static constexpr int samples = up == 2 ? 2 : kTaps + columns - 1;
    static constexpr int pending = up == 2 ? 2 : down == 2 ? 1 : 3;
    static constexpr int warm_up = pending / rows;
};

// Taps in the order of correlation, times the gain: of row j and column i, and of the axes whose outer product they are.
struct StripTaps {
    float both[kTaps][kTaps], x[kTaps], y[kTaps];
    bool separable;
};

PV3D_FUNCTION StripTaps load_taps(const UpfirdnParams& p) {
    const float* f = static_cast<const float*>(p.f);
    StripTaps taps = {};
    float total = 0, largest = 0;
    PV3D_UNROLL for (int j = 0; j < kTaps; ++j) {
        PV3D_UNROLL for (int i = 0; i < kTaps; ++i) {
            const int k = j * kTaps + i;
            const float tap = f[p.flip ? k : kTaps * kTaps - 1 - k] * float(p.gain);
            taps.both[j][i] = tap;
            taps.x[i] += tap, taps.y[j] += tap, total += tap;
            largest = std::fmax(largest, std::fabs(tap));
        }
    }
    const float scale = 1.0f / total;                        // infinite: not separable
    taps.separable = true;
    PV3D_UNROLL for (int i = 0; i < kTaps; ++i) taps.x[i] *= scale;
    PV3D_UNROLL for (int j = 0; j < kTaps; ++j) {
        PV3D_UNROLL for (int i = 0; i < kTaps; ++i) {
            const float error = std::fabs(taps.both[j][i] - taps.y[j] * taps.x[i]);
            taps.separable = taps.separable && error <= kSeparable * largest;             // false for NaN
        }
    }
    return taps;
}

// What a row of samples adds to the output rows, one column and channel of a strip.
template <int up, int down, bool separable> struct RowPart {
    const StripTaps& taps;
    const float* samples;
    int column;
    float across;

    PV3D_FUNCTION RowPart(const StripTaps& taps, const float* samples, int column)
        : taps(taps), samples(samples), column(column), across(separable ? along_x(0.0f, taps.x) : 0.0f) {}

    // Returns sum + the part for which these samples meet tap row j.
    PV3D_FUNCTION float add_to(float sum, int j) const {
        return separable ? sum + taps.y[j] * across : along_x(sum, taps.both[j]);
    }

    // Of each pair of upsampled pixels the first meets the samples with its odd taps, the second with its even ones.
    PV3D_FUNCTION float along_x(float sum, const float* weights) const {
        if constexpr (up == 2) {
            sum += weights[1 - column] * samples[0];
            sum += weights[3 - column] * samples[1];
        } else {
            PV3D_UNROLL for (int i = 0; i < kTaps; ++i) sum += weights[i] * samples[column + i];
        }
        return sum;
    }
};

// Where a thread works.
struct StripPlace {
    int32_t image, channel;                                  // the first of its channels
    int32_t out_x, out_y, in_x, in_y;                        // the first pixels, which may lie outside
};

struct StripStart {
    int32_t out, in;
};

template <int up, int down> PV3D_FUNCTION StripStart strip_start(int32_t index, int32_t size, int32_t pad) {
    int32_t out = index * size;
    if (up == 1) return StripStart{out, out * down - pad};
    out -= pad & 1 ? 0 : 1;                                  // so that the first output meets samples with odd taps
    return StripStart{out, (out - pad + 1) / 2};             // an even number
}

// Number of strips that cover an axis of `size` outputs.
template <int up> PV3D_FUNCTION int32_t strips_along(int32_t size, int32_t strip) {
    return (size + (up == 2 ? 1 : 0) + strip - 1) / strip;   // upsampling may begin one output early
}

template <class T, int lanes, int up, int down> PV3D_FUNCTION StripPlace find_strip(const StripParams& p, uint32_t rest) {
    using Shape = Strip<up, down>;
    const uint32_t columns = strips_along<up>(p.out_size[0], Shape::columns);
    const uint32_t runs = strips_along<up>(p.out_size[1], p.steps * Shape::rows);
    const uint32_t groups = p.out_size[2] / lanes;
    uint32_t column, run, group;
    if (p.channels_last) {
        group = rest % groups, rest /= groups;
        column = rest % columns, rest /= columns;
        run = rest % runs, rest /= runs;
    } else {
        column = rest % columns, rest /= columns;
        run = rest % runs, rest /= runs;
        group = rest % groups, rest /= groups;
    }
    const StripStart x = strip_start<up, down>(column, Shape::columns, p.pad[0]);
    const StripStart y = strip_start<up, down>(run, p.steps * Shape::rows, p.pad[1]);
    return StripPlace{int32_t(rest), int32_t(group * lanes), x.out, y.out, x.in, y.in};
}

// The loop over a strip. `lanes` channels are worked on at a time, and are neighbours in memory if more than one.
template <class T, int lanes, int up, int down, bool separable>
PV3D_FUNCTION void walk(const StripParams& p, const StripTaps& taps, const StripPlace& at) {
    using Shape = Strip<up, down>;
    using Pixel = Pack<T, lanes>;
    const int64_t in_x = p.x_stride[0], in_y = p.x_stride[1], out_x = p.y_stride[0], out_y = p.y_stride[1];
    const T* x = static_cast<const T*>(p.x) + at.image * p.x_stride[3] + at.channel * p.x_stride[2] + at.in_x * in_x;
    T* y = static_cast<T*>(p.y) + at.image * p.y_stride[3] + at.channel * p.y_stride[2] + at.out_x * out_x;
    x += at.in_y * in_y;
    y += (at.out_y - Shape::warm_up * Shape::rows) * out_y;
    const int32_t width = p.in_size[0], height = p.in_size[1];
    const bool inside = at.in_x >= 0 && at.in_x + Shape::samples <= width;
    int32_t row = at.in_y, out_row = at.out_y - Shape::warm_up * Shape::rows;

    const auto read = [&](Pixel (&pixels)[down][Shape::samples]) {
        PV3D_UNROLL for (int r = 0; r < down; ++r) {
            const bool row_inside = uint32_t(row) < uint32_t(height);
            if (inside && row_inside) {
                PV3D_UNROLL for (int s = 0; s < Shape::samples; ++s) pixels[r][s] = load<Pixel>(x + s * in_x);
            } else {
                PV3D_UNROLL for (int s = 0; s < Shape::samples; ++s) {
                    const bool there = row_inside && uint32_t(at.in_x + s) < uint32_t(width);
                    pixels[r][s] = there ? load<Pixel>(x + s * in_x) : Pixel();
                }
            }
            ++row, x += in_y;
        }
    };

    Pixel ahead[down][Shape::samples];
    read(ahead);
    float pending[Shape::pending][Shape::columns][lanes] = {};
    PV3D_UNROLL_BY(2) for (int32_t step = p.steps + Shape::warm_up; step > 0; --step) {
        Pixel pixels[down][Shape::samples];
        PV3D_UNROLL for (int r = 0; r < down; ++r)
            PV3D_UNROLL for (int s = 0; s < Shape::samples; ++s) pixels[r][s] = ahead[r][s];
        if (step > 1) read(ahead);                           // they arrive while this step computes

        Pixel out[Shape::rows][Shape::columns];
        PV3D_UNROLL for (int k = 0; k < lanes; ++k) {
            float samples[down][Shape::samples];
            PV3D_UNROLL for (int r = 0; r < down; ++r)
                PV3D_UNROLL for (int s = 0; s < Shape::samples; ++s) samples[r][s] = pixels[r][s].get(k);
            PV3D_UNROLL for (int c = 0; c < Shape::columns; ++c) {
                const RowPart<up, down, separable> first(taps, samples[0], c), last(taps, samples[down - 1], c);
                if constexpr (up == 2) {
                    out[0][c].set(k, first.add_to(pending[0][c][k], 3));
                    out[1][c].set(k, first.add_to(pending[1][c][k], 2));
                    pending[0][c][k] = first.add_to(0.0f, 1);
                    pending[1][c][k] = first.add_to(0.0f, 0);
                } else if constexpr (down == 2) {
                    out[0][c].set(k, last.add_to(first.add_to(pending[0][c][k], 2), 3));
                    pending[0][c][k] = last.add_to(first.add_to(0.0f, 0), 1);
                } else {
                    out[0][c].set(k, first.add_to(pending[0][c][k], 3));
                    pending[0][c][k] = first.add_to(pending[1][c][k], 2);
                    pending[1][c][k] = first.add_to(pending[2][c][k], 1);
                    pending[2][c][k] = first.add_to(0.0f, 0);
                }
            }
        }
        PV3D_UNROLL for (int r = 0; r < Shape::rows; ++r) {
            const bool complete = out_row >= at.out_y && uint32_t(out_row) < uint32_t(p.out_size[1]);
            PV3D_UNROLL for (int c = 0; c < Shape::columns; ++c) {
                const bool there = complete && uint32_t(at.out_x + c) < uint32_t(p.out_size[0]);
                if (there) store(y + c * out_x, out[r][c]);
            }
            ++out_row, y += out_y;
        }
    }
}

template <class T, int lanes, int up, int down> struct StripKernel {
    using Params = StripParams;

    static PV3D_FUNCTION void body(const StripParams& p, uint32_t count, uint32_t start, uint32_t step) {
        constexpr bool pays = up == 1 && down == 1 && lanes > 1;   // elsewhere filtering axis by axis saves little
        const StripTaps taps = load_taps(p);
        for (uint32_t i = start; i < count; i += step) {
            const StripPlace at = find_strip<T, lanes, up, down>(p, i);
            if (pays && taps.separable)
                walk<T, lanes, up, down, pays>(p, taps, at);
            else
                walk<T, lanes, up, down, false>(p, taps, at);
        }
    }
};

// --- Which kernel -----------------------------------------------------------------------------------------------------

// Returns whether `lanes` channels are neighbours in memory everywhere and begin at multiples of their size.
template <class T, int lanes> bool in_packs(const UpfirdnParams& p) {
    if (p.x_stride[2] != 1 || p.y_stride[2] != 1 || p.out_size[2] % lanes != 0) return false;
    const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % sizeof(Pack<T, lanes>) == 0; };
    bool fits = aligned(p.x) && aligned(p.y);
    for (int axis : {0, 1, 3}) fits = fits && p.x_stride[axis] % lanes == 0 && p.y_stride[axis] % lanes == 0;
    return fits;
}

template <class T, int lanes, int up, int down, class Launch> int launch_strips(const UpfirdnParams& p, Launch launch) {
    using Shape = Strip<up, down>;
    StripParams strips = {p, kLongestStrip};
    const auto threads = [&] {
        const int64_t columns = strips_along<up>(p.out_size[0], Shape::columns);
        const int64_t runs = strips_along<up>(p.out_size[1], strips.steps * Shape::rows);
        return columns * runs * (p.out_size[2] / lanes) * p.out_size[3];
    };
    const auto too_long = [&] { return strips.steps * Shape::rows >= 2 * p.out_size[1] || threads() < kEnoughThreads; };
    while (strips.steps > kShortestStrip && too_long()) strips.steps /= 2;
    return launch(StripKernel<T, lanes, up, down>(), strips, static_cast<uint32_t>(threads()));
}

// Calls launch(kernel, its params, count). Filters of 4 x 4 taps that scale both axes alike by 1, 2 or 1/2 go down strips,
// 16 bytes of channels at a time if the layout is right for that; double and everything else takes the generic kernel.
template <class T, class Launch> int launch_fitting(const UpfirdnParams& p, Launch launch) {
    if constexpr (sizeof(T) < sizeof(double)) {
        constexpr int lanes = 16 / sizeof(T);
        const bool alike = p.filter[0] == kTaps && p.filter[1] == kTaps && p.up[0] == p.up[1] && p.down[0] == p.down[1];
        const auto go = [&](auto up, auto down) {
            if (in_packs<T, lanes>(p)) return launch_strips<T, lanes, up.value, down.value>(p, launch);
            return launch_strips<T, 1, up.value, down.value>(p, launch);
        };
        const std::integral_constant<int, 1> one;
        const std::integral_constant<int, 2> two;
        if (alike && p.up[0] == 1 && p.down[0] == 1) return go(one, one);
        if (alike && p.up[0] == 2 && p.down[0] == 1) return go(two, one);
        if (alike && p.up[0] == 1 && p.down[0] == 2) return go(one, two);
    }
    const int64_t count = int64_t(p.out_size[0]) * p.out_size[1] * p.out_size[2] * p.out_size[3];
    return launch(GenericKernel<T>(), p, static_cast<uint32_t>(count));
}

// Calls launch(kernel, its params, count) for as many images at a time as fit into one launch.
template <class T, class Launch> int upfirdn2d_pieces(const UpfirdnParams& p, Launch launch) {
    const int64_t per_image = int64_t(p.out_size[0]) * p.out_size[1] * p.out_size[2];
    return in_pieces(per_image * p.out_size[3], per_image, [&](int64_t first, int64_t count) {
        UpfirdnParams part = p;
        const int64_t image = first / per_image;
        part.x = static_cast<const T*>(p.x) + image * p.x_stride[3];
        part.y = static_cast<T*>(p.y) + image * p.y_stride[3];
        part.out_size[3] = static_cast<int32_t>(count / per_image);
        return launch_fitting<T>(part, launch);
    });
}

}  // namespace pv3d
