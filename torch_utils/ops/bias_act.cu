// CUDA library of bias_act; the arithmetic is in bias_act.h.

#include "bias_act.h"
#include "launch.cuh"

constexpr int64_t kPacksPerThread = 4;                       // so that few threads find their place along the bias's axis

template <class Kernel> __global__ void __launch_bounds__(pv3d::kThreads) bias_act_kernel(const pv3d::BiasActParams params) {
    Kernel::body(params, blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x);
}

// Returns 0, a CUDA error number, or -1 for arguments that no kernel takes.
extern "C" int pv3d_bias_act(const pv3d::BiasActParams* params, int32_t dtype, int32_t device, void* stream) {
    const cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    return pv3d::for_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        return pv3d::for_act(params->act, [&](auto act) {
            const auto launch = [&](auto kernel, const pv3d::BiasActParams& part, int64_t count) -> int {
                const int blocks = pv3d::blocks_for((count + kPacksPerThread - 1) / kPacksPerThread);
                bias_act_kernel<decltype(kernel)>
                    <<<blocks, pv3d::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(part);
                return cudaGetLastError();
            };
            return pv3d::bias_act_pieces<T, decltype(act)::value>(*params, launch);
        });
    });
}
