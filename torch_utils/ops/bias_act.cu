// CUDA library of bias_act; the arithmetic is in bias_act.h.

#include "bias_act.h"
#include "launch.cuh"

template <class T, int act> __global__ void bias_act_kernel(const pv3d::BiasActParams params) {
    pv3d::bias_act_body<T, act>(params, blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x);
}

// Returns 0, a CUDA error number, or -1 for arguments that no kernel takes.
extern "C" int pv3d_bias_act(const pv3d::BiasActParams* params, int32_t dtype, int32_t device, void* stream) {
    const cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    return pv3d::for_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        return pv3d::for_act(params->act, [&](auto act) {
            return pv3d::bias_act_pieces<T>(*params, [&](const pv3d::BiasActParams& part) -> int {
                bias_act_kernel<T, decltype(act)::value>
                    <<<pv3d::blocks_for(part.total), pv3d::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(part);
                return cudaGetLastError();
            });
        });
    });
}
