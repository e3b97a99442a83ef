// DeformConvBlock: the convolution that predicts offsets and mask logits, the deformable convolution and ReLU as one.
//   x, packed offset weight, offset bias, packed weight, bias     half precision, channels last; the biases float32
// Both convolutions are 3x3 with padding 1 and stride, dilation and groups 1, see plugins/src/deform_block.h.
#include "deform_block.h"

#include "errors.h"
#include "operation.h"

#include <string>

namespace fairmot {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr int32_t kTaps = 9;
constexpr int32_t kOffsetRows = 32;  ///< two offsets and the logit of the mask per tap, filled up with zeros
constexpr int32_t kUnknown = -1;

enum Input : int32_t { kX, kOffsetWeight, kOffsetBias, kWeight, kBias, kInputs };

class DeformConvBlock final : public Operation {
  public:
    using Operation::Operation;

    std::unique_ptr<Operation> clone() const override { return std::make_unique<DeformConvBlock>(*this); }

    void check(Dims const* inputs, int32_t count) const override {
        expectInputs(count, kInputs, kInputs);
        expectDims("x", inputs[kX], {kUnknown, kUnknown, kUnknown, kUnknown});
        int32_t const in_channels = sizeAt(inputs[kX], 1);
        int32_t const out_channels = sizeAt(inputs[kWeight], 1);
        expectPacked("packed offset weight", inputs[kOffsetWeight], kOffsetRows, in_channels, kTaps);
        expectDims("offset bias", inputs[kOffsetBias], {kOffsetRows});
        expectPacked("packed weight", inputs[kWeight], kUnknown, in_channels, kTaps);
        expectDims("bias", inputs[kBias], {out_channels});
        // Both maps are (n, c, h, w); padding 1 keeps the size.
        int32_t const batch = sizeAt(inputs[kX], 0), height = sizeAt(inputs[kX], 2), width = sizeAt(inputs[kX], 3);
        expectIndexable("x", {batch, in_channels, height, width});
        expectIndexable("the output", {batch, out_channels, height, width});
        bool const known = in_channels != kUnknown && out_channels != kUnknown;
        if (known && !deformBlockSupports(in_channels, out_channels)) {
            throw PluginError("this kernel does not take " + std::to_string(in_channels) + " input and " +
                              std::to_string(out_channels) + " output channels; use DeformConv.");
        }
    }

    DimsExprs outputDims(DimsExprs const* inputs, IExprBuilder&) const override {
        DimsExprs result = inputs[kX];
        result.d[1] = inputs[kWeight].d[1];
        return result;
    }

    DataType outputType(DataType const*) const override { return DataType::kHALF; }

    bool supports(int32_t position, PluginTensorDesc const* tensors, int32_t) const override {
        PluginTensorDesc const& tensor = tensors[position];
        switch (position) {
            case kOffsetWeight:
            case kWeight:
                return is(tensor, DataType::kHALF, TensorFormat::kLINEAR);
            case kOffsetBias:
            case kBias:
                return is(tensor, DataType::kFLOAT, TensorFormat::kLINEAR);
            default:
                return is(tensor, DataType::kHALF, TensorFormat::kHWC8);
        }
    }

    size_t workspace(PluginTensorDesc const*, int32_t) const override { return 0; }

    cudaError_t launch(PluginTensorDesc const* descriptions, int32_t, void const* const* inputs, void* output, void*,
                       cudaStream_t stream) const override {
        Dims const& x = descriptions[kX].dims;
        DeformBlockTensors const tensors{inputs[kX],      inputs[kOffsetWeight], inputs[kOffsetBias],
                                         inputs[kWeight], inputs[kBias],         output};
        return deformBlock(sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2), sizeAt(x, 3),
                           sizeAt(descriptions[kWeight].dims, 1), attributes().get("relu") != 0, tensors, stream);
    }
};

}  // namespace

OperationType deformConvBlockType() { return {"DeformConvBlock", {{"relu", {0}, 0, 1}}, make<DeformConvBlock>}; }

}  // namespace fairmot
