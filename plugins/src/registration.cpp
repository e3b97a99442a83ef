// Exports of the library: the entry points that IPluginRegistry::loadLibrary() looks for, and its metadata.
// FAIRMOT_PLUGINS_VERSION (digest of the sources) and FAIRMOT_ARCHITECTURES (compute capabilities) come from the build.
#include "creators.h"
#include "errors.h"

#include <cuda_runtime_api.h>

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

#define FAIRMOT_MARK "FAIRMOT PLUGINS "

/// Metadata that `plugins/library.py` reads from the bytes of the file, without loading the library.
/// JSON after the mark: {"version": digest of the sources, "tensorrt": [major, minor, patch], "cudart": 13000,
/// "architectures": [90]}
FAIRMOT_EXPORT char const fairmot_plugins_metadata[];
char const fairmot_plugins_metadata[] =
    FAIRMOT_MARK "{\"version\": \"" FAIRMOT_TEXT(FAIRMOT_PLUGINS_VERSION) "\", \"tensorrt\": ["
    FAIRMOT_TEXT(NV_TENSORRT_MAJOR) ", " FAIRMOT_TEXT(NV_TENSORRT_MINOR) ", " FAIRMOT_TEXT(NV_TENSORRT_PATCH)
    "], \"cudart\": " FAIRMOT_TEXT(CUDART_VERSION) ", \"architectures\": [" FAIRMOT_TEXT(FAIRMOT_ARCHITECTURES) "]}";

/// The same without the mark.
FAIRMOT_EXPORT char const* fairmot_plugins_version() { return fairmot_plugins_metadata + sizeof(FAIRMOT_MARK) - 1; }
