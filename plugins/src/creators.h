// The plugin creators of this library, for the interface of the TensorRT it is built for.
#pragma once

#include <NvInferRuntime.h>

#include <vector>

namespace fairmot {

#if NV_TENSORRT_MAJOR < 10
using CreatorInterface = nvinfer1::IPluginCreator;
#else
using CreatorInterface = nvinfer1::IPluginCreatorInterface;
#endif

/// One creator per operation; they live as long as the library.
std::vector<CreatorInterface*> const& creators();

}  // namespace fairmot
