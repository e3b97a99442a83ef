#pragma once

#include "deform_conv.h"

namespace fairmot {

// `deformConv` for linear layouts; `deformConvSupports` must hold.
cudaError_t deformConvGeneral(DeformConvShape const& shape, DeformConvOptions const& options,
                              DeformConvTensors const& tensors, cudaStream_t stream);

}  // namespace fairmot
