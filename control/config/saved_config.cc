#include "control/config/saved_config.h"

#include <algorithm>
#include <stdexcept>

#include "control/config/file.h"

namespace basalt::control {

namespace {

using Json = nlohmann::json;

// What is wrong with the contents; caught by parse_saved_config().
class SavedConfigError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// The member `name` of an object, or null.
Json member(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() ? Json() : *found;
}

StartupCall read_call(const Json& entry, const std::string& origin) {
    const Json method = entry.is_object() ? member(entry, "method") : Json();
    if (!method.is_string()) {
        throw SavedConfigError(origin + ": each call must be an object with a text \"method\"");
    }
    Json params = member(entry, "params");
    if (params.is_null()) {
        params = Json::object();
    }
    if (!params.is_object()) {
        throw SavedConfigError(origin + ": " + method.get<std::string>() +
                               ": \"params\" must be an object");
    }
    return {.method = method.get<std::string>(),
            .params = std::move(params),
            .origin = origin,
            .new_file = std::nullopt};
}

/// Lets hosts in, or says something about how.
bool is_of_listener(const StartupCall& call) {
    return call.method == "nvmf_subsystem_add_listener" ||
           call.method == "nvmf_subsystem_listener_set_ana_state";
}

std::vector<StartupCall> read_saved_config(const Json& saved, const std::string& name) {
    const Json subsystems = saved.is_object() ? member(saved, "subsystems") : Json();
    if (!subsystems.is_array()) {
        throw SavedConfigError(name +
                               ": a saved configuration is an object with a list \"subsystems\"");
    }
    std::vector<StartupCall> calls;
    for (const Json& subsystem : subsystems) {
        const Json part = subsystem.is_object() ? member(subsystem, "subsystem") : Json();
        if (!part.is_string()) {
            throw SavedConfigError(
                name + ": each of \"subsystems\" is an object with a text \"subsystem\"");
        }
        const std::string origin = name + ": subsystem '" + part.get<std::string>() + "'";
        const Json config = member(subsystem, "config");
        if (!config.is_null() && !config.is_array()) {
            throw SavedConfigError(origin + ": \"config\" must be a list or null");
        }
        for (const Json& entry : config) {
            calls.push_back(read_call(entry, origin));
        }
    }
    // SPDK's files have each subsystem's listeners right behind it. No host is let in before all is
    // there that it may look for: a reservation, a second path, its keys.
    std::stable_partition(
        calls.begin(), calls.end(), [](const StartupCall& call) { return !is_of_listener(call); });
    return calls;
}

}  // namespace

Result<std::vector<StartupCall>> parse_saved_config(std::string_view text,
                                                    const std::string& name,
                                                    std::string& problem) {
    constexpr bool kThrow = true;
    constexpr bool kSkipComments = true;
    try {
        return read_saved_config(Json::parse(text, nullptr, kThrow, kSkipComments), name);
    } catch (const Json::exception& error) {
        problem = name + ": " + error.what();
    } catch (const SavedConfigError& error) {
        problem = error.what();
    }
    return Errc::kInvalidArgument;
}

Result<std::vector<StartupCall>> load_saved_config(const std::string& path, std::string& problem) {
    BASALT_TRY(const std::string text, read_file(path, problem));
    return parse_saved_config(text, path, problem);
}

}  // namespace basalt::control
