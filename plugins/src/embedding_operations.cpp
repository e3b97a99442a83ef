// UpsampleAdd and NormalizeEmbedding: the cheap operations around the deformable convolutions.
#include "errors.h"
#include "operation.h"
#include "upsample.h"

namespace fairmot {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimensionOperation;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::IExprBuilder;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

void expectEights(int32_t channels) {
    if (channels > 0 && channels % 8 != 0) throw PluginError("the channels of x must be a multiple of 8.");
}

/// y = depthwise transposed convolution of x (kernel 2f, stride f, padding f/2) + skip; inputs x, weight, skip.
class UpsampleAdd final : public Operation {
  public:
    using Operation::Operation;

    std::unique_ptr<Operation> clone() const override { return std::make_unique<UpsampleAdd>(*this); }

    void check(Dims const* inputs, int32_t count) const override {
        expectInputs(count, 3, 3);
        expectDims("x", inputs[0], {-1, -1, -1, -1});
        int32_t const channels = sizeAt(inputs[0], 1);
        expectEights(channels);
        if (factor() % 2 != 0) throw PluginError("attribute \"factor\" must be even.");
        auto const scaled = [&](int32_t axis) {
            int32_t const size = sizeAt(inputs[0], axis);
            return size < 0 ? int64_t{-1} : int64_t{size} * factor();
        };
        expectDims("weight", inputs[1], {2 * factor(), 2 * factor(), channels});
        expectIndexable("weight", {2 * factor(), 2 * factor(), channels});
        expectDims("skip", inputs[2], {sizeAt(inputs[0], 0), channels, scaled(2), scaled(3)});
    }

    DimsExprs outputDims(DimsExprs const* inputs, IExprBuilder& build) const override {
        DimsExprs result = inputs[0];
        for (int32_t axis : {2, 3}) {
            result.d[axis] = build.operation(DimensionOperation::kPROD, *inputs[0].d[axis], *build.constant(factor()));
        }
        return result;
    }

    DataType outputType(DataType const*) const override { return DataType::kHALF; }

    bool supports(int32_t position, PluginTensorDesc const* tensors, int32_t) const override {
        constexpr int32_t kWeight = 1;
        auto const format = position == kWeight ? TensorFormat::kLINEAR : TensorFormat::kHWC8;
        return is(tensors[position], DataType::kHALF, format);
    }

    size_t workspace(PluginTensorDesc const*, int32_t) const override { return 0; }

    cudaError_t launch(PluginTensorDesc const* descriptions, int32_t, void const* const* inputs, void* output, void*,
                       cudaStream_t stream) const override {
        Dims const& x = descriptions[0].dims;
        return upsampleAdd(sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2), sizeAt(x, 3), factor(), inputs[0], inputs[1],
                           inputs[2], output, stream);
    }

  private:
    int32_t factor() const { return attributes().get("factor"); }
};

/// Divides each cell's embedding by its length and leaves half precision.
class NormalizeEmbedding final : public Operation {
  public:
    using Operation::Operation;

    std::unique_ptr<Operation> clone() const override { return std::make_unique<NormalizeEmbedding>(*this); }

    void check(Dims const* inputs, int32_t count) const override {
        expectInputs(count, 1, 1);
        expectDims("x", inputs[0], {-1, -1, -1, -1});
        expectEights(sizeAt(inputs[0], 1));
        expectIndexable("a channel of x", {sizeAt(inputs[0], 2), sizeAt(inputs[0], 3)});
    }

    DimsExprs outputDims(DimsExprs const* inputs, IExprBuilder&) const override { return inputs[0]; }

    DataType outputType(DataType const*) const override { return DataType::kFLOAT; }

    bool supports(int32_t position, PluginTensorDesc const* tensors, int32_t) const override {
        return position == 0 ? is(tensors[0], DataType::kHALF, TensorFormat::kHWC8)
                             : is(tensors[position], DataType::kFLOAT, TensorFormat::kLINEAR);
    }

    size_t workspace(PluginTensorDesc const*, int32_t) const override { return 0; }

    cudaError_t launch(PluginTensorDesc const* descriptions, int32_t, void const* const* inputs, void* output, void*,
                       cudaStream_t stream) const override {
        Dims const& x = descriptions[0].dims;
        return normalizeEmbedding(sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2), sizeAt(x, 3), inputs[0],
                                  static_cast<float*>(output), stream);
    }
};

}  // namespace

OperationType upsampleAddType() { return {"UpsampleAdd", {{"factor", {2}, 2, 64, true}}, make<UpsampleAdd>}; }

OperationType normalizeEmbeddingType() { return {"NormalizeEmbedding", {}, make<NormalizeEmbedding>}; }

}  // namespace fairmot
