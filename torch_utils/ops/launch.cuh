// Launching a kernel body on a GPU, and the dtype numbers as CUDA types. Kernels are plain C functions that Python calls
// through ctypes: no torch or Python headers, so they build in seconds with any CUDA toolkit that the driver can run.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "portable.h"

namespace pv3d {

template <> struct IsUpperHalf<__nv_bfloat16> : std::true_type {};

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = int64_t(1) << 20;          // beyond that each thread handles several elements

inline int blocks_for(int64_t count) {
    const int64_t blocks = (count + kThreads - 1) / kThreads;
    return static_cast<int>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

// Calls visit(T()) with the type of a dtype number. Returns -1 for an unknown number.
template <class Visit> int for_dtype(int32_t dtype, Visit visit) {
    switch (dtype) {
        case kFloat32: return visit(float());
        case kFloat64: return visit(double());
        case kFloat16: return visit(__half());
        case kBFloat16: return visit(__nv_bfloat16());
    }
    return -1;
}

}  // namespace pv3d

__global__ void pv3d_nothing() {}

// Runs an empty kernel: 0 if the driver and the GPU take what this library was compiled to, else a CUDA error number.
extern "C" int pv3d_check(int32_t device) {
    cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    pv3d_nothing<<<1, 1>>>();
    status = cudaGetLastError();
    return status != cudaSuccess ? status : cudaDeviceSynchronize();
}

// The text of a status that a function of this library returned.
extern "C" const char* pv3d_message(int status) {
    return status < 0 ? "unsupported arguments" : cudaGetErrorString(static_cast<cudaError_t>(status));
}
