import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

/* Imports point one way: app -> features -> charts | forms | api -> ui -> lib | tokens. */
const above = {
  lib: ["app", "features", "charts", "forms", "api", "ui"],
  tokens: ["app", "features", "charts", "forms", "api", "ui", "lib"],
  ui: ["app", "features", "charts", "forms", "api"],
  api: ["app", "features", "charts", "forms"],
  forms: ["app", "features", "charts", "api"],
  charts: ["app", "features", "forms", "api"],
  features: ["app"],
};

const directions = Object.entries(above).map(([layer, forbidden]) => ({
  files: [`src/${layer}/**/*.{ts,tsx}`],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            group: forbidden.map((name) => `@/${name}/**`),
            message: `${layer} may not import from a layer above it or beside it.`,
          },
          { group: ["../**"], message: "Cross a folder with @/, so that the direction rule sees it." },
        ],
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ["dist", "node_modules", "src/api/generated", "public"] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  hooks.configs.flat["recommended-latest"],
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "max-lines": ["error", { max: 400 }],
      eqeqeq: "error",
      // Speaks of the React Compiler, which is not used; TanStack Table and Virtual are what it warns of.
      "react-hooks/incompatible-library": "off",
    },
  },
  ...directions,
  { files: ["**/*.js"], ...tseslint.configs.disableTypeChecked },
);
