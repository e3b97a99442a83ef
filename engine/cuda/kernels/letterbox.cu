// From the planes of a frame to the network's input in one pass: color conversion, resize, border,
// normalization. One thread per pixel of the network's input.
//
// No headers, so that NVRTC compiles it anywhere; compiled without fused multiply-add, so that the
// sums round as OpenCV's do.

typedef unsigned char Byte;

// The source pixels that one output pixel reads along an axis, and their weights: `count` pixels from
// `first` on; the first weighs `head`, the last `tail`, all between `body`. Built by letterbox.py.
struct Taps {
    int first, count;
    float head, body, tail;
};

// Sizes and positions in pixels.
struct Geometry {
    int source_width, source_height, resized_width, resized_height, left, top, target_width, target_height;
};

// YUV to RGB in 16.16 fixed point: value = (luma * Y + ... + offset) >> 16.
struct Matrix {
    int luma, red_v, green_u, green_v, blue_u, red_offset, green_offset, blue_offset;
};

static __device__ __forceinline__ int clampToByte(int value) { return min(max(value, 0), 255); }

static __device__ __forceinline__ void convert(Matrix const& matrix, int luma, int u, int v, int* bgr) {
    int const base = matrix.luma * luma;
    bgr[0] = clampToByte((base + matrix.blue_u * u + matrix.blue_offset) >> 16);
    bgr[1] = clampToByte((base + matrix.green_u * u + matrix.green_v * v + matrix.green_offset) >> 16);
    bgr[2] = clampToByte((base + matrix.red_v * v + matrix.red_offset) >> 16);
}

struct Bgr24 {
    Byte const* pixels;
    int width;

    __device__ Bgr24(Byte const* frame, Geometry const& geometry, Matrix const&)
        : pixels(frame), width(geometry.source_width) {}

    __device__ void read(int x, int y, int* bgr) const {
        Byte const* pixel = pixels + (static_cast<size_t>(y) * width + x) * 3;
        for (int channel = 0; channel < 3; ++channel) bgr[channel] = __ldg(pixel + channel);
    }
};

// Each chroma sample serves its 2x2 pixels, as in swscale's direct conversion.
struct Yuv420p {
    Byte const* luma;
    Byte const* u;
    Byte const* v;
    int width;
    Matrix matrix;

    __device__ Yuv420p(Byte const* frame, Geometry const& geometry, Matrix const& coefficients)
        : luma(frame), width(geometry.source_width), matrix(coefficients) {
        size_t const size = static_cast<size_t>(geometry.source_width) * geometry.source_height;
        u = frame + size;
        v = u + size / 4;
    }

    __device__ void read(int x, int y, int* bgr) const {
        size_t const chroma = static_cast<size_t>(y / 2) * (width / 2) + x / 2;
        convert(matrix, __ldg(luma + static_cast<size_t>(y) * width + x), __ldg(u + chroma), __ldg(v + chroma), bgr);
    }
};

struct Nv12 {
    Byte const* luma;
    Byte const* chroma;
    int width;
    Matrix matrix;

    __device__ Nv12(Byte const* frame, Geometry const& geometry, Matrix const& coefficients)
        : luma(frame), width(geometry.source_width), matrix(coefficients) {
        chroma = frame + static_cast<size_t>(geometry.source_width) * geometry.source_height;
    }

    __device__ void read(int x, int y, int* bgr) const {
        Byte const* pair = chroma + static_cast<size_t>(y / 2) * width + x / 2 * 2;
        convert(matrix, __ldg(luma + static_cast<size_t>(y) * width + x), __ldg(pair), __ldg(pair + 1), bgr);
    }
};

// `values` is a table (3, 256): the network's input for each level of each of its channels.
struct ChwFloat32 {
    typedef float Value;

    static __device__ void write(float* image, Geometry const& geometry, int x, int y, float const* channels) {
        size_t const plane = static_cast<size_t>(geometry.target_width) * geometry.target_height;
        size_t const cell = static_cast<size_t>(y) * geometry.target_width + x;
        for (int channel = 0; channel < 3; ++channel) image[channel * plane + cell] = channels[channel];
    }
};

// Halves are copied as their bits; the channels of a pixel are adjacent, the unused ones are 0.
struct Hwc4Float16 {
    typedef unsigned short Value;

    static __device__ void write(Value* image, Geometry const& geometry, int x, int y, Value const* channels) {
        uint2 pixel;
        pixel.x = channels[0] | static_cast<unsigned>(channels[1]) << 16;
        pixel.y = channels[2];
        reinterpret_cast<uint2*>(image)[static_cast<size_t>(y) * geometry.target_width + x] = pixel;
    }
};

struct Hwc8Float16 {
    typedef unsigned short Value;

    static __device__ void write(Value* image, Geometry const& geometry, int x, int y, Value const* channels) {
        uint4 pixel;
        pixel.x = channels[0] | static_cast<unsigned>(channels[1]) << 16;
        pixel.y = channels[2];
        pixel.z = pixel.w = 0;
        reinterpret_cast<uint4*>(image)[static_cast<size_t>(y) * geometry.target_width + x] = pixel;
    }
};

static __device__ __forceinline__ float weightOf(Taps const& taps, int index) {
    return index == 0 ? taps.head : index == taps.count - 1 ? taps.tail : taps.body;
}

template <class Source, class Output>
static __device__ __forceinline__ void letterbox(Byte const* frame, Taps const* columns, Taps const* rows,
                                                 typename Output::Value const* values, typename Output::Value* image,
                                                 Geometry const& geometry, Matrix const& matrix, int border,
                                                 int red_first) {
    int const x = blockIdx.x * blockDim.x + threadIdx.x;
    int const y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= geometry.target_width || y >= geometry.target_height) return;
    int levels[3] = {border, border, border};
    int const column = x - geometry.left;
    int const row = y - geometry.top;
    if (column >= 0 && column < geometry.resized_width && row >= 0 && row < geometry.resized_height) {
        Source const source(frame, geometry, matrix);
        Taps const across = columns[column];
        Taps const down = rows[row];
        float sums[3] = {0.f, 0.f, 0.f};
        for (int j = 0; j < down.count; ++j) {
            float line[3] = {0.f, 0.f, 0.f};
            for (int i = 0; i < across.count; ++i) {
                float const weight = weightOf(across, i);
                int bgr[3];
                source.read(across.first + i, down.first + j, bgr);
                for (int channel = 0; channel < 3; ++channel)
                    line[channel] += weight * static_cast<float>(bgr[channel]);
            }
            float const weight = weightOf(down, j);
            for (int channel = 0; channel < 3; ++channel) sums[channel] += weight * line[channel];
        }
        for (int channel = 0; channel < 3; ++channel)
            levels[channel] = clampToByte(static_cast<int>(rintf(sums[channel])));
    }
    typename Output::Value channels[3];
    for (int channel = 0; channel < 3; ++channel) {
        int const level = channel == 1 ? levels[1] : (channel == 0) == (red_first != 0) ? levels[2] : levels[0];
        channels[channel] = __ldg(values + channel * 256 + level);
    }
    Output::write(image, geometry, x, y, channels);
}

#define LETTERBOX(name, Source, Output)                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        name(Byte const* frame, Taps const* columns, Taps const* rows, Output::Value const* values,          \
             Output::Value* image, Geometry geometry, Matrix matrix, int border, int red_first) {            \
        letterbox<Source, Output>(frame, columns, rows, values, image, geometry, matrix, border, red_first); \
    }

LETTERBOX(letterbox_bgr24_chw_float32, Bgr24, ChwFloat32)
LETTERBOX(letterbox_bgr24_hwc4_float16, Bgr24, Hwc4Float16)
LETTERBOX(letterbox_bgr24_hwc8_float16, Bgr24, Hwc8Float16)
LETTERBOX(letterbox_yuv420p_chw_float32, Yuv420p, ChwFloat32)
LETTERBOX(letterbox_yuv420p_hwc4_float16, Yuv420p, Hwc4Float16)
LETTERBOX(letterbox_yuv420p_hwc8_float16, Yuv420p, Hwc8Float16)
LETTERBOX(letterbox_nv12_chw_float32, Nv12, ChwFloat32)
LETTERBOX(letterbox_nv12_hwc4_float16, Nv12, Hwc4Float16)
LETTERBOX(letterbox_nv12_hwc8_float16, Nv12, Hwc8Float16)
