import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const backend = process.env["STILLROOM_BACKEND"] ?? "http://127.0.0.1:8000";

export default defineConfig(({ command }) => ({
  base: command === "build" ? "/static/app/" : "/",
  plugins: [react()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: { target: "es2022", assetsInlineLimit: 0, sourcemap: false },
  server: {
    port: 5173,
    proxy: {
      "/api": { target: backend, changeOrigin: false },
      "/_allauth": { target: backend, changeOrigin: false },
      "/admin": { target: backend, changeOrigin: false },
      "/ws": { target: backend, changeOrigin: false, ws: true },
    },
  },
  test: { include: ["src/**/*.test.{ts,tsx}"], css: false },
}));
