// What the library exports: the entry points that IPluginRegistry::loadLibrary() looks for, and its own version.
// FAIRMOT_PLUGINS_VERSION (hash of the sources) and FAIRMOT_ARCHITECTURES (compute capabilities) come from the build.
#include "creators.h"
#include "fault.h"

#include <cuda_runtime_api.h>

#include <string>

#define FAIRMOT_EXPORT extern "C" __attribute__((visibility("default")))
#define FAIRMOT_STRING(...) #__VA_ARGS__
#define FAIRMOT_TEXT(...) FAIRMOT_STRING(__VA_ARGS__)

FAIRMOT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { fairmot::setFinder(finder); }

#if NV_TENSORRT_MAJOR < 10
FAIRMOT_EXPORT nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) {
#else
FAIRMOT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
#endif
    return fairmot::guarded("fairmot plugins", static_cast<fairmot::CreatorInterface* const*>(nullptr), [&] {
        auto const& creators = fairmot::creators();
        count = static_cast<int32_t>(creators.size());
        return creators.data();
    });
}

/// JSON: {"version": hash of the sources, "tensorrt": [major, minor, patch], "cuda": "13.0", "architectures": [90]}
FAIRMOT_EXPORT char const* fairmot_plugins_version() {
    static std::string const text =
        std::string("{\"version\": \"" FAIRMOT_TEXT(FAIRMOT_PLUGINS_VERSION) "\", \"tensorrt\": [") +
        std::to_string(NV_TENSORRT_MAJOR) + ", " + std::to_string(NV_TENSORRT_MINOR) + ", " +
        std::to_string(NV_TENSORRT_PATCH) + "], \"cuda\": \"" + std::to_string(CUDART_VERSION / 1000) + "." +
        std::to_string(CUDART_VERSION % 1000 / 10) +
        "\", \"architectures\": [" FAIRMOT_TEXT(FAIRMOT_ARCHITECTURES) "]}";
    return text.c_str();
}
