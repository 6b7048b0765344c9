// In place of packages that Azurite loads and a blob server in memory never calls: databases, telemetry, OAuth, HTTP out.
module.exports = class {};
module.exports.Model = class {};
