// Errors inside the plugins: thrown as PluginError, logged once at the boundary to TensorRT, never thrown across it.
#pragma once

#include <NvInferRuntime.h>

#include <exception>
#include <stdexcept>
#include <string>

namespace fairmot {

/// An invalid attribute or tensor, or a failed launch; the message is one line.
class PluginError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Remembers where TensorRT keeps its logger; called by setLoggerFinder().
void setFinder(nvinfer1::ILoggerFinder* finder) noexcept;

/// Writes `operation: message` to TensorRT's logger, or to stderr when there is none.
void logError(char const* operation, char const* message) noexcept;

/// Returns function(), or `failure` after logging what it threw.
template <typename Result, typename Function>
Result guarded(char const* operation, Result failure, Function const& function) noexcept {
    try {
        return function();
    } catch (std::exception const& error) {
        logError(operation, error.what());
    }
    return failure;
}

}  // namespace fairmot
