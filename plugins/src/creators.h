// The plugin creators of this library, for the interface of the TensorRT it is built for.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <vector>

#include "operation.h"

namespace fairmot {

#if NV_TENSORRT_MAJOR < 10
using CreatorInterface = nvinfer1::IPluginCreator;
#else
using CreatorInterface = nvinfer1::IPluginCreatorInterface;
#endif

/// One creator per operation; they live as long as the library.
std::vector<CreatorInterface*> const& creators();

/// The same for one class of creators, which are constructed from an operation type.
template <typename Creator>
std::vector<CreatorInterface*> const& creatorsOf() {
    static std::vector<std::unique_ptr<Creator>> owned;
    static std::vector<CreatorInterface*> const list = [] {
        std::vector<CreatorInterface*> result;
        for (auto const& type : operationTypes()) {
            owned.push_back(std::make_unique<Creator>(type));
            result.push_back(owned.back().get());
        }
        return result;
    }();
    return list;
}

}  // namespace fairmot
