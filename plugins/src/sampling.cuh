// The sampling points of a deformable convolution.
#pragma once

#include "deform_conv.h"

namespace fairmot {

struct Geometry {
    int height, width;          // of the input
    int out_width, out_pixels;  // of the output
    int kernel_width, taps, offset_groups;
    int stride_y, stride_x, pad_top, pad_left, dilation_y, dilation_x;
};

struct Sample {
    int y, x;                  // top left of the four pixels
    float w00, w01, w10, w11;  // their bilinear weights times the mask, 0 outside the map
};

__device__ __forceinline__ float sigmoid(float value) { return __fdividef(1.0f, 1.0f + __expf(-value)); }

// Sampling point of one tap: DCNv2 reads 0 outside the map and interpolates across its border.
__device__ __forceinline__ Sample locate_sample(Geometry const& g, int row, int column, int tap, int kernel_width,
                                                float delta_y, float delta_x, float mask) {
    int const tap_y = tap / kernel_width;
    int const tap_x = tap - tap_y * kernel_width;
    float const y = static_cast<float>(row * g.stride_y - g.pad_top + tap_y * g.dilation_y) + delta_y;
    float const x = static_cast<float>(column * g.stride_x - g.pad_left + tap_x * g.dilation_x) + delta_x;
    Sample at{0, 0, 0.0f, 0.0f, 0.0f, 0.0f};
    if (!(y > -1.0f && x > -1.0f && y < static_cast<float>(g.height) && x < static_cast<float>(g.width))) {
        return at;
    }
    float const top = floorf(y);
    float const left = floorf(x);
    float const fy = y - top;
    float const fx = x - left;
    at.y = static_cast<int>(top);
    at.x = static_cast<int>(left);
    float const upper = at.y >= 0 ? (1.0f - fy) * mask : 0.0f;
    float const lower = at.y + 1 < g.height ? fy * mask : 0.0f;
    float const near = at.x >= 0 ? 1.0f - fx : 0.0f;
    float const far = at.x + 1 < g.width ? fx : 0.0f;
    at.w00 = upper * near;
    at.w01 = upper * far;
    at.w10 = lower * near;
    at.w11 = lower * far;
    return at;
}

inline Geometry geometry_of(DeformConvShape const& s) {
    return {s.in_height,     s.in_width,
            s.out_width,     s.out_height * s.out_width,
            s.kernel_width,  s.kernel_height * s.kernel_width,
            s.offset_groups, s.stride_y,
            s.stride_x,      s.pad_top,
            s.pad_left,      s.dilation_y,
            s.dilation_x};
}

}  // namespace fairmot
