import type { ComponentType } from "react";
import { createBrowserRouter, Navigate, type RouteObject } from "react-router";
import { Shell } from "./Shell";
import { PageFailed } from "./PageFailed";

/** Each page is a chunk of its own; the first page loads only itself. */
function page<Name extends string>(
  path: string,
  load: () => Promise<Record<Name, ComponentType>>,
  name: Name,
): RouteObject {
  return {
    path,
    lazy: async () => ({ Component: (await load())[name] }),
    errorElement: <PageFailed />,
    hydrateFallbackElement: <></>,
  };
}

const run = () => import("@/features/run/RunPage");

export const router = createBrowserRouter([
  page("/signin", () => import("@/features/session/SignInPage"), "SignInPage"),
  {
    path: "/",
    element: <Shell />,
    errorElement: <PageFailed />,
    hydrateFallbackElement: <></>,
    children: [
      page("", () => import("@/features/home/HomePage"), "HomePage"),
      { path: "o/:org", element: <Navigate to="active" replace /> },
      page("o/:org/active", () => import("@/features/runs/ActivePage"), "ActivePage"),
      page("o/:org/projects", () => import("@/features/org/ProjectsPage"), "ProjectsPage"),
      { path: "o/:org/p/:project", element: <Navigate to="runs" replace /> },
      page("o/:org/p/:project/runs", () => import("@/features/runs/RunsPage"), "RunsPage"),
      page("o/:org/p/:project/import", () => import("@/features/imports/ImportPage"), "ImportPage"),
      page("o/:org/p/:project/studies", () => import("@/features/studies/StudiesPage"), "StudiesPage"),
      page("o/:org/studies/:study", () => import("@/features/studies/StudyPage"), "StudyPage"),
      page("o/:org/compare", () => import("@/features/compare/ComparePage"), "ComparePage"),
      page("o/:org/submit", () => import("@/features/submit/GalleryPage"), "GalleryPage"),
      page("o/:org/submit/:recipe", () => import("@/features/submit/SubmitPage"), "SubmitPage"),
      page("o/:org/runs/:run", run, "RunPage"),
      page("o/:org/runs/:run/:tab", run, "RunPage"),
      page("o/:org/usage", () => import("@/features/org/UsagePage"), "UsagePage"),
      page("o/:org/members", () => import("@/features/org/MembersPage"), "MembersPage"),
      page("o/:org/tokens", () => import("@/features/org/TokensPage"), "TokensPage"),
      page("o/:org/alerts", () => import("@/features/alerts/AlertsPage"), "AlertsPage"),
      page("o/:org/storage", () => import("@/features/keeping/StoragePage"), "StoragePage"),
      page("o/:org/nodes", () => import("@/features/org/NodesPage"), "NodesPage"),
      page("leaderboards", () => import("@/features/boards/BoardsPage"), "BoardsPage"),
      page("leaderboards/new", () => import("@/features/boards/NewBoardPage"), "NewBoardPage"),
      page("leaderboards/scores", () => import("@/features/boards/ScoresPage"), "ScoresPage"),
      page("leaderboards/:benchmark", () => import("@/features/boards/BoardPage"), "BoardPage"),
      page("*", () => import("./NotFoundPage"), "NotFoundPage"),
    ],
  },
]);
