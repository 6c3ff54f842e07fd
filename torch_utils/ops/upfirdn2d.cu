// CUDA library of upfirdn2d; the arithmetic is in upfirdn2d.h and upfirdn2d_strips.h.

#include "launch.cuh"
#include "upfirdn2d_strips.h"

// Two blocks are on a multiprocessor at least, which leaves 128 registers to a thread.
template <class Kernel> __global__ void __launch_bounds__(pv3d::kThreads, 2)
upfirdn2d_kernel(const typename Kernel::Params params, uint32_t count) {
    Kernel::body(params, count, blockIdx.x * blockDim.x + threadIdx.x, gridDim.x * blockDim.x);
}

// Returns 0, a CUDA error number, or -1 for arguments that no kernel takes.
extern "C" int pv3d_upfirdn2d(const pv3d::UpfirdnParams* params, int32_t dtype, int32_t device, void* stream) {
    const cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    return pv3d::for_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        return pv3d::upfirdn2d_pieces<T>(*params, [&](auto kernel, const auto& part, uint32_t count) -> int {
            upfirdn2d_kernel<decltype(kernel)>
                <<<pv3d::blocks_for(count), pv3d::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(part, count);
            return cudaGetLastError();
        });
    });
}
