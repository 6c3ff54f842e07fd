// CUDA library of scale_act; the arithmetic is in scale_act.h.

#include "launch.cuh"
#include "scale_act.h"

template <class Kernel> __global__ void __launch_bounds__(pv3d::kThreads, 2)
scale_act_kernel(const pv3d::ScaleActParams params, uint32_t count) {
    Kernel::body(params, count, blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x);
}

// Returns 0, a CUDA error number, or -1 for arguments that no kernel takes.
extern "C" int pv3d_scale_act(const pv3d::ScaleActParams* params, int32_t dtype, int32_t device, void* stream) {
    const cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    return pv3d::for_dtype(dtype, [&](auto zero) {
        const auto launch = [&](auto kernel, const pv3d::ScaleActParams& p, uint32_t count) -> int {
            scale_act_kernel<decltype(kernel)>
                <<<pv3d::blocks_for(count), pv3d::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(p, count);
            return cudaGetLastError();
        };
        return pv3d::scale_act_launch<decltype(zero)>(*params, launch);
    });
}
