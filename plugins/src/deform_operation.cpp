// The modulated deformable convolution (DCNv2) under three names, which differ in their inputs and attributes:
//   DeformConv       X, W, offset, [B], [mask]               as in ONNX opset 19
//   DCNv2            x, offset, mask, weight, bias           as older exporters of CenterNet and FairMOT write it
//   FusedDeformConv  x, predicted, packed weight, bias       half precision, channels last; predicted is the raw
//                    output of the offset convolution (offsets, then mask logits), see plugins/src/deform_conv.h
#include "deform_conv.h"
#include "errors.h"
#include "operation.h"

#include <algorithm>
#include <array>

namespace fairmot {
namespace {

using nvinfer1::DimensionOperation;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IDimensionExpr;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;
using TensorType = nvinfer1::DataType;

constexpr int32_t kMostSize = 1 << 20;
constexpr int32_t kMostGroups = 4096;
constexpr int32_t kUnknown = -1;
constexpr int64_t kBlockK = 64;    ///< of the packed weight
constexpr int32_t kPlausible = 8;  ///< stands for a size that is not known yet when formats are chosen

/// The input's position by role; -1 where the operation has no such input.
struct Inputs {
    int32_t weight, offset, mask, bias, fewest, most;
};

/// The geometry, under whichever names the dialect has its attributes.
struct Geometry {
    std::array<int32_t, 2> kernel{0, 0};  ///< 0: from the weight
    std::array<int32_t, 2> stride{1, 1};
    std::array<int32_t, 4> pads{0, 0, 0, 0};  ///< top, left, bottom, right
    std::array<int32_t, 2> dilation{1, 1};
    int32_t groups = 1;
    int32_t offset_groups = 1;
};

class DeformOperation : public Operation {
  public:
    void check(Dims const* inputs, int32_t count) const override {
        expectInputs(count, where_.fewest, where_.most);
        expectDims("x", inputs[0], {kUnknown, kUnknown, kUnknown, kUnknown});
        DeformConvShape const shape = shapeOf(inputs, count, kUnknown);
        bool const channels_known = shape.in_channels != kUnknown;
        if (channels_known && (shape.in_channels % shape.groups != 0 || shape.in_channels % shape.offset_groups != 0)) {
            throw PluginError("the channels of x must be a multiple of the groups and of the offset groups.");
        }
        if (shape.out_channels != kUnknown && shape.out_channels % shape.groups != 0) {
            throw PluginError("the channels of the output must be a multiple of the groups.");
        }
        checkWeight(inputs);
        if (shape.out_height == 0 || shape.out_width == 0) throw PluginError("the kernel is larger than the padded x.");
        bool const kernel_known = shape.kernel_height != kUnknown && shape.kernel_width != kUnknown;
        int64_t const points =
            kernel_known ? int64_t{shape.kernel_height} * shape.kernel_width * shape.offset_groups : kUnknown;
        expectDims(fused_ ? "predicted" : "offset", inputs[where_.offset],
                   {shape.batch, (fused_ ? 3 : 2) * points, shape.out_height, shape.out_width});
        if (where_.mask >= 0 && where_.mask < count) {
            expectDims("mask", inputs[where_.mask], {shape.batch, points, shape.out_height, shape.out_width});
        }
        if (where_.bias < count) expectDims("bias", inputs[where_.bias], {shape.out_channels});
        visitIndexed(shape, fused_, expectIndexable);
        DeformConvOptions const halves = optionsOf(TensorType::kHALF, TensorFormat::kHWC8);
        if (fused_ && !deformConvSupports(shapeOf(inputs, count, kPlausible), halves)) {
            throw PluginError("these channels, groups or kernel are not for the fused kernel; use DeformConv.");
        }
    }

    DimsExprs outputDims(DimsExprs const* inputs, IExprBuilder& build) const override {
        auto const number = [&](int32_t value) { return build.constant(value); };
        auto const combine = [&](DimensionOperation operation, IDimensionExpr const* a, IDimensionExpr const* b) {
            return build.operation(operation, *a, *b);
        };
        DimsExprs const& weight = inputs[where_.weight];
        DimsExprs result = inputs[0];
        result.d[1] = fused_ ? weight.d[1] : weight.d[0];
        for (int32_t axis : {0, 1}) {
            // floor((size + padding - (dilation * (kernel - 1) + 1)) / stride) + 1
            IDimensionExpr const* const kernel =
                geometry_.kernel[axis] > 0 ? number(geometry_.kernel[axis]) : weight.d[axis + 2];
            IDimensionExpr const* const steps = combine(DimensionOperation::kSUB, kernel, number(1));
            IDimensionExpr const* const reach =
                combine(DimensionOperation::kSUM,
                        combine(DimensionOperation::kPROD, number(geometry_.dilation[axis]), steps), number(1));
            IDimensionExpr const* const padded = combine(DimensionOperation::kSUM, inputs[0].d[axis + 2],
                                                         number(geometry_.pads[axis] + geometry_.pads[axis + 2]));
            IDimensionExpr const* const moves =
                combine(DimensionOperation::kFLOOR_DIV, combine(DimensionOperation::kSUB, padded, reach),
                        number(geometry_.stride[axis]));
            result.d[axis + 2] = combine(DimensionOperation::kSUM, moves, number(1));
        }
        return result;
    }

    TensorType outputType(TensorType const* inputs) const override { return fused_ ? TensorType::kHALF : inputs[0]; }

    bool supports(int32_t position, PluginTensorDesc const* tensors, int32_t inputs) const override {
        PluginTensorDesc const& tensor = tensors[position];
        bool const is_output = position == inputs;
        if (fused_) {
            if (position == where_.bias) return is(tensor, TensorType::kFLOAT, TensorFormat::kLINEAR);
            bool const is_weight = position == where_.weight;
            return is(tensor, TensorType::kHALF, is_weight ? TensorFormat::kLINEAR : TensorFormat::kHWC8);
        }
        TensorType const type = tensors[0].type;
        if ((type != TensorType::kFLOAT && type != TensorType::kHALF) || tensor.type != type) return false;
        if (position == 0) {
            bool const known = tensor.format == TensorFormat::kLINEAR ||
                               (tensor.format == TensorFormat::kHWC8 && type == TensorType::kHALF);
            return known && canRun(tensors, 1, tensor.format);
        }
        if (is_output) return tensor.format == tensors[0].format && canRun(tensors, inputs, tensor.format);
        return tensor.format == TensorFormat::kLINEAR && canRun(tensors, position + 1, tensors[0].format);
    }

    size_t workspace(PluginTensorDesc const* inputs, int32_t count) const override {
        return deformConvWorkspace(shapeOf(inputs, count, kPlausible), optionsOf(inputs[0].type, inputs[0].format));
    }

    cudaError_t launch(PluginTensorDesc const* descriptions, int32_t count, void const* const* inputs, void* output,
                       void* workspace, cudaStream_t stream) const override {
        auto const input = [&](int32_t index) { return index >= 0 && index < count ? inputs[index] : nullptr; };
        DeformConvTensors const tensors{
            inputs[0], input(where_.offset), input(where_.mask), input(where_.weight), input(where_.bias), output};
        DeformConvShape const shape = shapeOf(descriptions, count, kUnknown);
        DeformConvOptions const options = optionsOf(descriptions[0].type, descriptions[0].format);
        visitIndexed(shape, options.layout == Layout::kHwc8, expectIndexable);
        return deformConv(shape, options, tensors, workspace, stream);
    }

  protected:
    DeformOperation(Attributes attributes, Inputs const& where, Geometry const& geometry, bool fused, bool relu)
        : Operation(std::move(attributes)), where_(where), geometry_(geometry), fused_(fused), relu_(relu) {}

  private:
    DeformConvOptions optionsOf(TensorType type, TensorFormat format) const {
        return {type == TensorType::kHALF ? DataType::kHalf : DataType::kFloat,
                format == TensorFormat::kHWC8 ? Layout::kHwc8 : Layout::kLinear, fused_, relu_};
    }

    void checkWeight(Dims const* inputs) const {
        Dims const& weight = inputs[where_.weight];
        int64_t const channels = sizeAt(inputs[0], 1);
        if (fused_) {
            expectPacked("packed weight", weight, kUnknown, channels,
                         int64_t{geometry_.kernel[0]} * geometry_.kernel[1]);
        } else {
            auto const kernel = [&](int32_t axis) {
                return geometry_.kernel[axis] > 0 ? geometry_.kernel[axis] : kUnknown;
            };
            int64_t const of_group = channels == kUnknown ? kUnknown : channels / geometry_.groups;
            expectDims("weight", weight, {kUnknown, of_group, kernel(0), kernel(1)});
        }
    }

    /// The sizes, with `unknown` (for channels: a multiple of it) in place of those that are not known.
    DeformConvShape shapeOf(Dims const* inputs, int32_t count, int32_t unknown) const {
        Dims const none{};
        Dims const& x = inputs[0];
        Dims const& weight = where_.weight < count ? inputs[where_.weight] : none;
        auto const size = [&](Dims const& dims, int32_t axis) {
            int32_t const known = sizeAt(dims, axis);
            return known >= 0 ? known : unknown;
        };
        auto const kernel = [&](int32_t axis) {
            return geometry_.kernel[axis] > 0 ? geometry_.kernel[axis] : size(weight, axis + 2);
        };
        auto const output = [&](int32_t axis) -> int32_t {
            int32_t const in = size(x, axis + 2);
            if (in == kUnknown || kernel(axis) == kUnknown) return kUnknown;
            int64_t const reach = int64_t{geometry_.dilation[axis]} * (kernel(axis) - 1);
            int64_t const room = int64_t{in} + geometry_.pads[axis] + geometry_.pads[axis + 2] - reach - 1;
            return room < 0 ? 0 : static_cast<int32_t>(room / geometry_.stride[axis]) + 1;
        };
        DeformConvShape shape{};
        shape.batch = size(x, 0);
        int32_t const channels = unknown == kUnknown ? 1 : geometry_.groups * geometry_.offset_groups;
        shape.in_channels = sizeAt(x, 1) >= 0 ? sizeAt(x, 1) : unknown * channels;
        shape.in_height = size(x, 2);
        shape.in_width = size(x, 3);
        shape.out_channels = sizeAt(weight, fused_ ? 1 : 0) >= 0 ? sizeAt(weight, fused_ ? 1 : 0) : unknown * channels;
        shape.out_height = output(0);
        shape.out_width = output(1);
        shape.kernel_height = kernel(0);
        shape.kernel_width = kernel(1);
        shape.stride_y = geometry_.stride[0];
        shape.stride_x = geometry_.stride[1];
        shape.pad_top = geometry_.pads[0];
        shape.pad_left = geometry_.pads[1];
        shape.dilation_y = geometry_.dilation[0];
        shape.dilation_x = geometry_.dilation[1];
        shape.groups = geometry_.groups;
        shape.offset_groups = geometry_.offset_groups;
        return shape;
    }

    DeformConvShape shapeOf(PluginTensorDesc const* tensors, int32_t count, int32_t unknown) const {
        std::array<Dims, 5> sizes{};
        count = std::min(count, static_cast<int32_t>(sizes.size()));
        for (int32_t i = 0; i < count; ++i) sizes[i] = tensors[i].dims;
        return shapeOf(sizes.data(), count, unknown);
    }

    /// Calls f(name, sizes) for all that a kernel indexes with 32 bits: channels last whole tensors, linear a channel.
    template <typename Function>
    void visitIndexed(DeformConvShape const& s, bool channels_last, Function const& f) const {
        f("a filter", {s.in_channels / s.groups, s.kernel_height, s.kernel_width});
        if (!channels_last) {
            f("a channel of x", {s.in_height, s.in_width});
            f("a channel of the output", {s.out_height, s.out_width});
            return;
        }
        bool const known = s.in_channels >= 0 && s.kernel_height >= 0 && s.kernel_width >= 0;
        int64_t const taps = known ? int64_t{s.kernel_height} * s.kernel_width : kUnknown;
        int64_t const k_tiles = known ? (taps * s.in_channels + kBlockK - 1) / kBlockK : kUnknown;
        f("x", {s.batch, s.in_channels, s.in_height, s.in_width});
        f(fused_ ? "predicted" : "offset",
          {s.batch, (fused_ ? 3 : 2) * taps * s.offset_groups, s.out_height, s.out_width});
        f("packed weight", {k_tiles, s.out_channels, kBlockK});
        f("the output", {s.batch, s.out_channels, s.out_height, s.out_width});
    }

    /// Whether a kernel exists for x in this format, from the tensors that are described so far.
    bool canRun(PluginTensorDesc const* tensors, int32_t described, TensorFormat format) const {
        bool runs = deformConvSupports(shapeOf(tensors, described, kPlausible), optionsOf(tensors[0].type, format));
        visitIndexed(shapeOf(tensors, described, kUnknown), format == TensorFormat::kHWC8,
                     [&](char const*, std::initializer_list<int64_t> sizes) { runs = runs && isIndexable(sizes); });
        return runs;
    }

    Inputs where_;
    Geometry geometry_;
    bool fused_;
    bool relu_;
};

std::array<int32_t, 2> pair(Attributes const& attributes, char const* name) {
    return {attributes.get(name, 0), attributes.get(name, 1)};
}

std::array<int32_t, 4> four(Attributes const& attributes, char const* name) {
    return {attributes.get(name, 0), attributes.get(name, 1), attributes.get(name, 2), attributes.get(name, 3)};
}

class DeformConv final : public DeformOperation {
  public:
    explicit DeformConv(Attributes const& from)
        : DeformOperation(from, {1, 2, 4, 3, 3, 5},
                          {pair(from, "kernel_shape"), pair(from, "strides"), four(from, "pads"),
                           pair(from, "dilations"), from.get("group"), from.get("offset_group")},
                          false, false) {}
    std::unique_ptr<Operation> clone() const override { return std::make_unique<DeformConv>(*this); }
};

class DCNv2 final : public DeformOperation {
  public:
    explicit DCNv2(Attributes const& from)
        : DeformOperation(
              from, {3, 1, 2, 4, 5, 5},
              {{0, 0},
               pair(from, "stride"),
               {from.get("padding", 0), from.get("padding", 1), from.get("padding", 0), from.get("padding", 1)},
               pair(from, "dilation"),
               from.get("groups"),
               from.get("deformable_group")},
              false, false) {}
    std::unique_ptr<Operation> clone() const override { return std::make_unique<DCNv2>(*this); }
};

class FusedDeformConv final : public DeformOperation {
  public:
    explicit FusedDeformConv(Attributes const& from)
        : DeformOperation(from, {2, 1, -1, 3, 4, 4},
                          {pair(from, "kernel_shape"), pair(from, "strides"), four(from, "pads"),
                           pair(from, "dilations"), 1, from.get("offset_group")},
                          true, from.get("relu") != 0) {}
    std::unique_ptr<Operation> clone() const override { return std::make_unique<FusedDeformConv>(*this); }
};

}  // namespace

OperationType deformConvType() {
    return {"DeformConv",
            {{"kernel_shape", {0, 0}, 0, kMostSize},
             {"strides", {1, 1}, 1, kMostSize},
             {"pads", {0, 0, 0, 0}, 0, kMostSize},
             {"dilations", {1, 1}, 1, kMostSize},
             {"group", {1}, 1, kMostGroups},
             {"offset_group", {1}, 1, kMostGroups}},
            make<DeformConv>};
}

OperationType dcnv2Type() {
    return {"DCNv2",
            {{"stride", {1, 1}, 1, kMostSize},
             {"padding", {0, 0}, 0, kMostSize},
             {"dilation", {1, 1}, 1, kMostSize},
             {"groups", {1}, 1, kMostGroups},
             {"deformable_group", {1}, 1, kMostGroups}},
            make<DCNv2>};
}

OperationType fusedDeformConvType() {
    return {"FusedDeformConv",
            {{"kernel_shape", {0, 0}, 1, 64, true},
             {"strides", {1, 1}, 1, kMostSize},
             {"pads", {0, 0, 0, 0}, 0, kMostSize},
             {"dilations", {1, 1}, 1, kMostSize},
             {"offset_group", {1}, 1, kMostGroups},
             {"relu", {0}, 0, 1}},
            make<FusedDeformConv>};
}

}  // namespace fairmot
