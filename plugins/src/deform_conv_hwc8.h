#pragma once

#include "deform_conv.h"

namespace fairmot {

// `deformConv` for kHwc8; `deformConvSupports` must hold. Only what is not fused needs the workspace.
cudaError_t deformConvHwc8(DeformConvShape const& shape, DeformConvOptions const& options,
                           DeformConvTensors const& tensors, void* workspace, cudaStream_t stream);

size_t deformConvHwc8Workspace(DeformConvShape const& shape);

}  // namespace fairmot
