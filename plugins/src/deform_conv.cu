#include "deform_conv.h"

#include "deform_conv_general.h"
#include "deform_conv_hwc8.h"

namespace fairmot {
namespace {

constexpr int kChunk = 8;       // halves in a 16-byte chunk
constexpr int kMaxPoints = 64;  // taps times offset groups: their offsets and weights are in shared memory

}  // namespace

bool deformConvSupports(DeformConvShape const& s, DeformConvOptions const& options) {
    bool const whole = s.groups > 0 && s.offset_groups > 0 && s.in_channels % s.groups == 0 &&
                       s.out_channels % s.groups == 0 && s.in_channels % s.offset_groups == 0;
    if (!whole || options.layout == Layout::kLinear) {
        return whole && !options.fused;
    }
    return options.type == DataType::kHalf && s.groups == 1 && s.out_channels % kChunk == 0 &&
           s.in_channels / s.offset_groups % kChunk == 0 &&
           s.kernel_height * s.kernel_width * s.offset_groups <= kMaxPoints;
}

size_t deformConvWorkspace(DeformConvShape const& s, DeformConvOptions const& options) {
    return options.layout == Layout::kHwc8 && !options.fused ? deformConvHwc8Workspace(s) : 0;
}

cudaError_t deformConv(DeformConvShape const& s, DeformConvOptions const& options, DeformConvTensors const& t,
                       void* workspace, cudaStream_t stream) {
    if (!deformConvSupports(s, options)) {
        return cudaErrorInvalidValue;
    }
    if (options.layout == Layout::kHwc8) {
        return deformConvHwc8(s, options, t, workspace, stream);
    }
    return deformConvGeneral(s, options, t, stream);
}

}  // namespace fairmot
